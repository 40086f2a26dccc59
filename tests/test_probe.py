"""The probe: what it measures is what the formulas say, in every variant, and a run with it is the run without it."""

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from experiments.training.probe import MEASURES, MIN_KEYS, Probe, measure, probe_batch, softmax_measures
from experiments.training.probe_csv import COLUMNS, Key, read_probe
from experiments.training.stopping import CheckpointWriter
from lit_transformer.attention_maps import attention_of
from lit_transformer.batch import TranslationBatch
from lit_transformer.components.attention import MultiHeadAttention
from lit_transformer.components.mixers.local import LocalAttention
from lit_transformer.config import Mask, Mixer, MixerConfig, ModelConfig, Norm, NormConfig, Scale
from lit_transformer.errors import UserError
from tests.small_models import BASE, batch_of, build, every_variant
from tests.small_training import BATCHES, DROPPING, Losses, SignalAt, endless, module, trainer, weights

VALIDATING: dict[str, Any] = {"val_check_interval": 4, "check_val_every_n_epoch": None}
BATCH = batch_of()
BATCH_NORM = replace(DROPPING, norm=NormConfig(Norm.batch))
SOFTMAX = ["largest_weight", "entropy", "jacobian", "score_std", "hidden_weight"]


def validation() -> DataLoader[TranslationBatch]:
    return DataLoader(BATCHES, batch_size=None, collate_fn=lambda batch: batch)  # type: ignore[arg-type]


@pytest.mark.parametrize("config", [DROPPING, BATCH_NORM], ids=["dropout", "batch norm"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_with_the_probe_has_the_same_bits(tmp_path: Path, config: ModelConfig, accumulate: int) -> None:
    runs = []
    for probes in ([], [Probe(tmp_path / "probe.csv", BATCH)]):
        lit, losses = module(config, accumulate=accumulate), Losses()
        settings = {**VALIDATING, "accumulate_grad_batches": accumulate}
        trainer(12 // accumulate, callbacks=[*probes, losses], **settings).fit(lit, endless(BATCHES), validation())
        runs.append((weights(lit), losses.values, torch.get_rng_state(), lit.network.training))
    plain, probed = runs
    assert probed[1] == plain[1]
    for name, value in plain[0].items():
        assert torch.equal(value, probed[0][name]), name
    assert torch.equal(plain[2], probed[2])
    assert plain[3] == probed[3]


def test_looking_leaves_a_network_as_it_was() -> None:
    network = build(BATCH_NORM).train()
    network.encoder.layers[0].eval()  # a mode of its own is kept as well
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [part.training for part in network.modules()]
    kept = [torch.randn_like(parameter) for parameter in network.parameters()]
    for parameter, gradient in zip(network.parameters(), kept, strict=True):
        parameter.grad = gradient
    with torch.inference_mode():  # as Lightning validates
        measure(network, BATCH)
    assert [part.training for part in network.modules()] == modes
    assert all(p.grad is gradient for p, gradient in zip(network.parameters(), kept, strict=True))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(part._forward_pre_hooks for part in network.modules())


def far(attention: MultiHeadAttention) -> bool:
    """Say whether a token may look at `MIN_KEYS` keys."""
    if not isinstance(attention, LocalAttention):
        return True
    return attention.window + 1 + (0 if attention.causal else attention.window) >= MIN_KEYS


@every_variant
def test_every_variant_is_measured(config: ModelConfig) -> None:
    network = build(config)
    found = measure(network, BATCH)
    assert all(value == value for value in found.values())
    assert {name for _, _, name in found} <= MEASURES.keys()
    attentions = {(part, layer) for part, layer, name in found if name in SOFTMAX}
    expected = set()
    for part, stack, own in (
        ("encoder", network.encoder, "mixer"),
        ("decoder", network.decoder, "mixer"),
        ("cross", network.decoder, "cross"),
    ):
        found_in = [attention_of(sublayer) for name, sublayer in stack.sublayers() if name == own]
        expected |= {(part, layer) for layer, each in enumerate(found_in, 1) if each is not None and far(each)}
    assert attentions == expected
    assert found["all", None, "gradient"] > 0


def test_gradients_are_those_of_the_mean_loss() -> None:
    network = build(DROPPING).eval()
    found = measure(network.train(), BATCH)
    hidden = network.eval().hidden(BATCH)
    loss = torch.nn.functional.cross_entropy(network.logits(hidden), BATCH.tgt_out)
    loss.backward()

    def norm(*parts: torch.nn.Module) -> float:
        return sum(float(p.grad.square().sum()) for part in parts for p in part.parameters()) ** 0.5

    decoder: Any = network.decoder.layers[1]
    mixer = decoder.sublayers["mixer"].inner
    assert found["all", None, "gradient"] == pytest.approx(norm(network), rel=1e-4)
    assert found["embedding", None, "gradient"] == pytest.approx(norm(network.output_embedding), rel=1e-4)
    assert found["encoder", 1, "gradient"] == pytest.approx(norm(network.encoder.layers[0]), rel=1e-4)
    assert found["decoder", 2, "gradient"] == pytest.approx(norm(decoder), rel=1e-4)
    assert found["decoder", 2, "query_key_gradient"] == pytest.approx(
        norm(mixer.in_proj.query, mixer.in_proj.key), rel=1e-4
    )
    assert found["decoder", 2, "value_gradient"] == pytest.approx(norm(mixer.in_proj.value), rel=1e-4)


def of(
    scores: list[list[float]], visible: list[list[bool]] | None = None, lengths: int | None = None
) -> dict[str, Any]:
    """Measure the rows of one sentence and one head."""
    table = torch.tensor([[scores]])
    mask = torch.ones(1, 1, 1, table.shape[-1], dtype=torch.bool) if visible is None else torch.tensor([[visible]])
    table = table.masked_fill(~mask, -torch.inf)
    found = softmax_measures(table, mask, torch.arange(len(scores))[None] < (lengths or len(scores)))
    return {name: float(value) for name, value in found.items()}


def test_equal_weights_are_not_saturated_and_one_weight_is() -> None:
    equal, one = of([[2.0] * 5] * 2), of([[0.0, 500.0, 0.0, 0.0, 0.0]] * 2)
    assert equal == pytest.approx(
        {"largest_weight": 0.2, "entropy": 1, "jacobian": 1, "score_std": 0, "hidden_weight": 0}, abs=1e-6
    )
    assert one == pytest.approx(
        {"largest_weight": 1, "entropy": 0, "jacobian": 0, "score_std": 200, "hidden_weight": 0}, abs=1e-6
    )


def test_a_row_in_between_is_as_computed_by_hand() -> None:
    half = torch.tensor([0.5, 0.25, 0.125, 0.125]).log().tolist()
    found = of([half, [9.0, 9.0, 9.0, 9.0]])
    entropy = (0.5 + 0.5 + 0.375 + 0.375) / 2  # bits, over the two of equal weights
    assert found["entropy"] == pytest.approx((entropy + 1) / 2, abs=1e-6)
    assert found["largest_weight"] == pytest.approx((0.5 + 0.25) / 2, abs=1e-6)
    assert found["jacobian"] == pytest.approx(((0.25 + 0.1875 + 2 * 0.109375) / 0.75 + 1) / 2, abs=1e-6)
    spread = torch.tensor(half).var(correction=0)
    assert found["score_std"] == pytest.approx(float((spread / 2).sqrt()), abs=1e-6)


def test_short_rows_padding_and_hidden_keys_do_not_count() -> None:
    causal = torch.ones(6, 6, dtype=torch.bool).tril().tolist()
    scores = torch.randn(6, 6).tolist()
    found = of(scores, causal, lengths=5)  # the last row is padding, the first three see fewer keys than MIN_KEYS
    rows = [torch.tensor(scores[i][: i + 1]).softmax(0) for i in (MIN_KEYS - 1, MIN_KEYS)]
    assert found["largest_weight"] == pytest.approx(sum(float(row.max()) for row in rows) / 2, abs=1e-6)
    assert of([[1.0, 2.0, 3.0]]) == {}


def test_only_a_mask_that_leaks_gives_weight_to_what_it_hides() -> None:
    for mask in Mask:
        found = measure(build(replace(BASE, attention=replace(BASE.attention, mask=mask))), BATCH)
        leaking = found["decoder", 1, "hidden_weight"]
        assert leaking > 0.05 if mask.leaks else leaking == 0
        assert found["encoder", 1, "hidden_weight"] == 0
        assert 0 < found["decoder", 1, "entropy"] <= 1


def test_scores_without_a_scale_spread_by_the_root_of_d_k_more() -> None:
    torch.manual_seed(3)
    scaled = build(BASE)
    torch.manual_seed(3)
    unscaled = build(replace(BASE, attention=replace(BASE.attention, scale=Scale.none)))
    one, other = measure(scaled, BATCH), measure(unscaled, BATCH)
    assert other["encoder", 1, "score_std"] == pytest.approx(2 * one["encoder", 1, "score_std"], rel=1e-4)  # d_k is 4
    assert other["encoder", 1, "jacobian"] < one["encoder", 1, "jacobian"]


def test_a_mixer_that_is_no_attention_has_gradients_only() -> None:
    read = replace(BASE, encoder_mixer=MixerConfig(Mixer.lstm))
    found = measure(build(read), BATCH)
    assert {name for part, _, name in found if part == "encoder"} == {"gradient"}


@pytest.mark.parametrize("window", [3, 4])
def test_a_band_is_measured_as_its_square(window: int) -> None:
    local = MixerConfig(Mixer.local_attention, window=window)
    network = build(replace(BASE, encoder_mixer=local, decoder_mixer=local))
    long = batch_of([(list(range(4, 23)) * 3, list(range(4, 20)) * 3), ([5, 6, 7, 8, 9, 10], [11, 12])])
    inner: list[Any] = [
        sublayer.inner for stack in (network.encoder, network.decoder) for _, sublayer in stack.sublayers()
    ]
    banded = measure(network, long)
    for part in inner:
        if isinstance(part, LocalAttention):
            assert part.max_square < min(long.src_layout.max_seqlen, long.tgt_layout.max_seqlen)
            part.max_square = math.inf
    assert banded == pytest.approx(measure(network, long), rel=1e-4, abs=1e-6)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("stop", [2, 3, 5])
def test_a_resumed_run_has_the_rows_of_a_whole_one(tmp_path: Path, stop: int) -> None:
    whole, pieces = tmp_path / "whole.csv", tmp_path / "pieces.csv"
    trainer(8, callbacks=[Probe(whole, BATCH)], **VALIDATING).fit(module(), endless(BATCHES), validation())
    checkpoint = CheckpointWriter(tmp_path, every=100, run_hash="hash")
    first = trainer(8, callbacks=[Probe(pieces, BATCH), SignalAt(checkpoint, stop), checkpoint], **VALIDATING)
    with pytest.raises(UserError, match="stopped at step"):
        first.fit(module(), endless(BATCHES), validation())
    position = torch.load(checkpoint.path, weights_only=True)["global_step"]
    again = trainer(8, callbacks=[Probe(pieces, BATCH)], **VALIDATING)
    again.fit(module(), endless(BATCHES, position), validation(), ckpt_path=checkpoint.path, weights_only=True)
    assert pieces.read_bytes() == whole.read_bytes()
    assert {row["step"] for row in rows_of(whole)} == {"0", "4", "8"}


def test_the_file_says_what_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "probe.csv"
    probe, norms = Probe(path, BATCH), Norms()
    trainer(8, callbacks=[probe, norms], **VALIDATING).fit(module(), endless(BATCHES), validation())
    assert tuple(rows_of(path)[0]) == COLUMNS
    read = read_probe(path)
    assert [(step, key) for step, key, _ in read] == [(row[0], tuple(row[1:4])) for row in probe.rows]
    steps: dict[tuple[int, Key], float] = {(step, key): value for step, key, value in read}
    assert steps[8, ("all", None, "step_gradient")] == pytest.approx(sum(norms.values[4:]) / 4, rel=1e-4)
    assert steps[8, ("all", None, "step_gradient_largest")] == pytest.approx(max(norms.values[4:]), rel=1e-4)
    assert (0, ("all", None, "step_gradient")) not in steps
    assert read_probe(tmp_path / "none.csv") == []


class Norms(pl.Callback):
    """The norm of each step's gradient, before it is clipped."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_before_optimizer_step(self, trainer: pl.Trainer, lit: pl.LightningModule, optimizer: Any) -> None:
        self.values.append(sum(float(p.grad.square().sum()) for p in lit.parameters() if p.grad is not None) ** 0.5)


def test_the_pairs_are_spread_over_the_split() -> None:
    class Pairs(list[Any]):
        pass

    pairs = Pairs([([5 + i], [6, 7]) for i in range(100)])
    assert probe_batch(pairs).pairs.tolist()[:3] == [0, 3, 6]
    assert len(probe_batch(pairs).pairs) == 32
    assert probe_batch(Pairs(pairs[:5])).pairs.tolist() == [0, 1, 2, 3, 4]
