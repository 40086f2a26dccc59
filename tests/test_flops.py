"""Counts worked out from a config equal what torch counts and holds, in all rows of Table 3 too."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from experiments.reporting.paper import TABLE3, Ablation
from lit_transformer.config import (
    ModelConfig,
    OptimConfig,
)
from lit_transformer.flops import Work, build_on_meta, forward_flops, parameter_count, training_flops
from lit_transformer.transformer import build_transformer
from tests.small_models import BASE, PAIRS, VOCAB, batch_of, build, every_variant
from tests.table3_models import PAPER_VOCAB, TABLE3_MODELS


@pytest.mark.parametrize("row", TABLE3, ids=lambda row: row.variant)
def test_every_row_of_table_3_has_the_parameters_of_our_arithmetic(row: Ablation) -> None:
    config, parameters = TABLE3_MODELS[row.variant]
    with torch.device("meta"):
        model = build_transformer(config, PAPER_VOCAB)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert parameter_count(build_on_meta(config, PAPER_VOCAB)) == parameters
    if row.parameters_millions:
        assert -0.066 < parameters / 1e6 / row.parameters_millions - 1 < 0.0056


def test_no_vocabulary_fits_the_papers_column() -> None:
    """The numbers of docs/components.md: the vocabularies at which a row rounds to the paper's millions."""
    fits = {}
    for row in TABLE3:
        if row.parameters_millions:
            config, parameters = TABLE3_MODELS[row.variant]
            missing = (row.parameters_millions + np.array([-0.5, 0.5])) * 1e6 - parameters
            fits[row.variant] = PAPER_VOCAB + missing / config.d_model
    big = fits.pop("big")
    low, high = max(low for low, _ in fits.values()), min(high for _, high in fits.values())
    assert len(fits) == 10
    assert (math.ceil(low), math.floor(high)) == (41_004, 41_208)
    assert (math.ceil(big[0]), math.floor(big[1])) == (35_368, 36_344)


def test_table_3_has_all_its_rows_here() -> None:
    assert [row.variant for row in TABLE3] == list(TABLE3_MODELS)
    assert len(TABLE3_MODELS) == 20


def test_the_defaults_are_the_papers_base_model() -> None:
    config, optim = ModelConfig(), OptimConfig()
    shape = (config.encoder_layers, config.decoder_layers, config.d_model, config.feed_forward.d_ff)
    assert shape == (6, 6, 512, 2048)
    assert (config.attention.heads, config.attention.d_k, config.attention.d_v) == (8, 64, 64)
    assert (config.dropout, optim.label_smoothing, optim.steps, optim.warmup) == (0.1, 0.1, 100_000, 4000)
    assert (optim.beta1, optim.beta2, optim.eps) == (0.9, 0.98, 1e-9)
    assert (config.attention.bias, config.attention.dropout, config.feed_forward.dropout) == (False, 0.0, 0.0)


@every_variant
def test_parameter_count_equals_the_models(config: ModelConfig) -> None:
    model = build(config)
    counts = parameter_count(model), parameter_count(build_on_meta(config, VOCAB))
    assert set(counts) == {sum(parameter.numel() for parameter in model.parameters())}


@every_variant
@pytest.mark.parametrize("batch", ["rectangle", "ragged"])
def test_forward_flops_equal_what_torch_counts(config: ModelConfig, batch: str) -> None:
    model = build(config)
    pairs = PAIRS if batch == "ragged" else [([5, 6, 7, 8], [9, 10]), ([11, 12, 13, 14], [15, 16]), ([4] * 4, [5] * 2)]
    packed = batch_of(pairs)
    fused_off = torch.backends.mkldnn.flags(enabled=False, allow_tf32=None)  # torch does not count its fused LSTM
    with sdpa_kernel(SDPBackend.MATH), fused_off, FlopCounterMode(display=False) as counter:
        model.logits(model.hidden(packed))
    s, t = packed.src_layout, packed.tgt_layout
    work = Work.of_lengths(config, s.lengths, t.lengths)
    if batch == "ragged":  # the kernel's rectangle is the only padding: torch counts it, the formula does not
        work = replace(
            work,
            src_squared=s.mask.numel() * s.max_seqlen,
            tgt_squared=t.mask.numel() * t.max_seqlen,
            cross=t.mask.numel() * s.max_seqlen,
        )
    assert counter.get_total_flops() == forward_flops(model, work) == forward_flops(build_on_meta(config, VOCAB), work)


def test_training_costs_three_forward_passes() -> None:
    """One product forward and two backward, and nothing is spared: torch counts the same."""
    config, packed = BASE, batch_of([([5, 6, 7, 8], [9, 10])] * 3)
    model = build(config)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.logits(model.hidden(packed)).sum().backward()
    work = Work.of_lengths(config, packed.src_layout.lengths, packed.tgt_layout.lengths)
    assert training_flops(model, work) == 3 * forward_flops(model, work)
    assert counter.get_total_flops() == training_flops(model, work)


def test_work_sums_over_pairs() -> None:
    work = Work.of_lengths(ModelConfig(), torch.tensor([2, 3]), torch.tensor([5, 7]))
    assert work == Work(src=5, tgt=12, src_squared=13, tgt_squared=74, cross=31)


def test_base_models_training_by_the_papers_recipe() -> None:
    """About 9.5e17 operations: 100,000 steps of 25,000 tokens a side, in sentences of 25 tokens."""
    work = Work(src=25_000, tgt=25_000, src_squared=25_000 * 25, tgt_squared=25_000 * 25, cross=25_000 * 25)
    assert 1e5 * training_flops(build_on_meta(ModelConfig(), PAPER_VOCAB), work) == pytest.approx(9.5e17, rel=0.05)
