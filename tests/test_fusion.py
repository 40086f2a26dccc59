"""Fused networks: every member computes, and learns, what its network does by itself."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from lit_transformer import LitTransformer
from lit_transformer.batch import FusedBatch, Layout, TranslationBatch
from lit_transformer.config import (
    FeedForward,
    FeedForwardConfig,
    Mixer,
    MixerConfig,
    ModelConfig,
    Norm,
    NormConfig,
    OptimConfig,
    Residual,
    ResidualConfig,
    Schedule,
)
from lit_transformer.errors import UserError
from lit_transformer.fused_module import LitFusedTransformer, clip_each
from lit_transformer.fusion import FusedTransformer, require_fusable
from lit_transformer.transformer import Transformer
from tests.small_models import ADMITTED, BASE, PAIRS, VARIANTS, VOCAB, assert_close, batch_of, build
from tests.small_training import OPTIM, Losses, endless, loader, trainer

LONGER = ([9, 10, 11] * 4, [8, 7, 6] * 3)
BATCHES = [batch_of(PAIRS), batch_of(PAIRS[:2]), batch_of([*PAIRS[1:], LONGER])]
"""One of each member: they differ in sentences, in tokens and in the longest sentence."""
SEEDS = [3, 4, 11]


def fusable(config: ModelConfig) -> bool:
    try:
        require_fusable(config)
    except UserError:
        return False
    return True


FUSABLE = {name: config for name, config in VARIANTS.items() if fusable(config)}


def networks(config: ModelConfig, members: int = 3) -> list[Transformer]:
    torch.manual_seed(5)
    return [build(config).train() for _ in range(members)]


def nats(hidden: Tensor, weight: Tensor, batch: TranslationBatch) -> Tensor:
    return F.cross_entropy(hidden @ weight.T, batch.tgt_out, reduction="sum")


def dropping(config: ModelConfig) -> ModelConfig:
    """Return the config with everything that a training draws at random."""
    residual = replace(config.residual, rate=0.4)
    return replace(config, dropout=0.3, feed_forward=replace(config.feed_forward, dropout=0.2), residual=residual)


@pytest.mark.parametrize("config", FUSABLE.values(), ids=FUSABLE.keys())
def test_members_compute_what_their_networks_do(config: ModelConfig) -> None:
    """Outputs and gradients in training, dropout included; in float64, in which only a mistake differs by 1e-9."""
    alone = [network.double() for network in networks(dropping(config))]
    fused = FusedTransformer(alone).train()
    fused.draws.seed(SEEDS, torch.device("cpu"))
    hidden = fused.hidden(fused.batch(BATCHES))
    members = [rows[: len(batch.tgt_out)] for rows, batch in zip(hidden, BATCHES, strict=True)]
    torch.stack([nats(*each) for each in zip(members, fused.output_weights, BATCHES, strict=True)]).sum().backward()
    for k, (network, batch, seed) in enumerate(zip(alone, BATCHES, SEEDS, strict=True)):
        torch.manual_seed(seed)
        expected = network.hidden(batch)
        nats(expected, network.output_embedding.weight, batch).backward()
        torch.testing.assert_close(members[k], expected, atol=1e-9, rtol=1e-9)
        for name, parameter in network.named_parameters():
            gradient = fused.by_name[name].grad
            assert gradient is not None
            assert parameter.grad is not None
            torch.testing.assert_close(
                gradient[k], parameter.grad, atol=1e-9, rtol=1e-9, msg=lambda m, n=name: f"{n}: {m}"
            )


STREAMS = [[batch_of(PAIRS[k:]), batch_of([LONGER, *PAIRS[:k]]), batch_of(PAIRS[: k + 1])] for k in range(3)]
"""The batches of each member, over and over."""


class Fused(IterableDataset[FusedBatch]):
    """The members' batches side by side, over and over, from step `position` on."""

    def __init__(self, network: FusedTransformer, position: int = 0) -> None:
        self.network, self.position = network, position

    def __iter__(self) -> Iterator[FusedBatch]:
        while True:
            yield self.network.batch([stream[self.position % len(stream)] for stream in STREAMS])
            self.position += 1


def fused_loader(network: FusedTransformer, position: int = 0) -> Any:
    return DataLoader(Fused(network, position), batch_size=None, collate_fn=lambda batch: batch)


class Terms(Losses):
    """Keeps the loss of every batch before it is divided by the batches of a step, or those of all members."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
        self.values.append(outputs["terms"]["loss"].tolist())


def train_alone(config: ModelConfig, optims: Sequence[OptimConfig], steps: int) -> tuple[Tensor, list[Transformer]]:
    """Return the losses (steps, K) of K trainings one after another, and the networks."""
    columns, trained = [], networks(config)
    for network, optim, seed, stream in zip(trained, optims, SEEDS, STREAMS, strict=True):
        losses = Terms()
        accumulate = {"accumulate_grad_batches": optim.accumulate}
        lit = LitTransformer(network, optim, seed)
        trainer(steps, callbacks=[losses], **accumulate).fit(lit, endless(stream))
        columns.append(losses.values)
    return torch.tensor(columns).T, trained


def train_fused(config: ModelConfig, optims: Sequence[OptimConfig], steps: int) -> tuple[Tensor, FusedTransformer]:
    losses, fused = Terms(), FusedTransformer(networks(config))
    lit = LitFusedTransformer(fused, optims, SEEDS)
    accumulate = {"accumulate_grad_batches": optims[0].accumulate}
    trainer(steps, callbacks=[losses], **accumulate).fit(lit, fused_loader(fused))
    return torch.tensor(losses.values), fused


SHALLOW = dropping(replace(BASE, encoder_layers=1, decoder_layers=1))
TWENTY = replace(OPTIM, steps=20)
TRAININGS = {
    "as they are": (SHALLOW, [TWENTY] * 3),
    "accumulated, two passes": (SHALLOW, [replace(TWENTY, accumulate=2, r_drop=1.0)] * 3),
    "clipped, rates of their own": (
        SHALLOW,
        [replace(TWENTY, clip_norm=0.5, peak=peak) for peak in (1e-3, 3e-3, 9e-3)],
    ),
    "layers dropped, schedules of their own": (
        replace(SHALLOW, residual=ResidualConfig(Residual.layer_drop, rate=0.3), norm=NormConfig(Norm.rms)),
        [replace(TWENTY, schedule=schedule) for schedule in (Schedule.linear, Schedule.cosine, Schedule.paper)],
    ),
}


@pytest.mark.parametrize(("config", "optims"), TRAININGS.values(), ids=TRAININGS.keys())
def test_members_learn_what_their_networks_do(config: ModelConfig, optims: list[OptimConfig]) -> None:
    expected, alone = train_alone(config, optims, 20)
    losses, fused = train_fused(config, optims, 20)
    assert_close(losses, expected)
    for k, network in enumerate(alone):
        for name, value in network.state_dict().items():
            assert_close(fused.state_of(k)[name], value, 1e-4)


def test_a_resumed_training_is_the_uninterrupted_one_to_the_bit(tmp_path: Path) -> None:
    optims = TRAININGS["clipped, rates of their own"][1]
    losses, expected = train_fused(SHALLOW, optims, 8)
    lit = LitFusedTransformer(FusedTransformer(networks(SHALLOW)), optims, SEEDS)
    first = trainer(5)
    first.fit(lit, fused_loader(lit.network))
    first.save_checkpoint(tmp_path / "last.ckpt")
    resumed, later = LitFusedTransformer(FusedTransformer(networks(SHALLOW)), optims, SEEDS), Terms()
    loader = fused_loader(resumed.network, position=5)
    trainer(8, callbacks=[later]).fit(resumed, loader, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert later.values == losses.tolist()[5:]
    for k in range(3):
        state = resumed.network.state_of(k)
        assert all(torch.equal(state[name], value) for name, value in expected.state_of(k).items())


def test_a_member_that_diverges_leaves_the_others_alone() -> None:
    optims = [replace(TWENTY, clip_norm=0.5)] * 3
    expected, healthy = train_fused(SHALLOW, optims, 4)
    losses, fused = Terms(), FusedTransformer(networks(SHALLOW))
    with torch.no_grad():
        fused.output_weights[1].fill_(torch.nan)
    trainer(4, callbacks=[losses]).fit(LitFusedTransformer(fused, optims, SEEDS), fused_loader(fused))
    values = torch.tensor(losses.values)
    assert values[:, 1].isnan().all()
    assert torch.equal(values[:, [0, 2]], expected[:, [0, 2]])
    for k in (0, 2):
        assert all(torch.equal(fused.state_of(k)[name], value) for name, value in healthy.state_of(k).items())


def test_every_member_is_validated() -> None:
    batches = [batch_of(PAIRS), batch_of([LONGER])]
    fused = FusedTransformer(networks(SHALLOW))
    lit = LitFusedTransformer(fused, [OPTIM] * 3, SEEDS)
    trainer(1).validate(lit, loader([fused.batch([batch] * 3) for batch in batches]), verbose=False)
    for member, network in zip(lit.valid_losses, networks(SHALLOW), strict=True):
        alone = trainer(1).validate(LitTransformer(network, OPTIM), loader(batches), verbose=False)
        assert member == pytest.approx(alone[0]["valid/loss"], rel=1e-6)


def test_each_gradient_is_clipped_by_its_own_norm() -> None:
    gradients = [torch.randn(3, 4, 5), torch.randn(3, 6)]
    gradients[0][2] *= 1e-3
    gradients[1][2] *= 1e-3
    fused = [torch.nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
    for parameter, gradient in zip(fused, gradients, strict=True):
        parameter.grad = gradient.clone()
    clip_each(fused, 0.5)
    for k in range(3):
        alone = [torch.nn.Parameter(torch.zeros_like(gradient[k])) for gradient in gradients]
        for parameter, gradient in zip(alone, gradients, strict=True):
            parameter.grad = gradient[k].clone()
        torch.nn.utils.clip_grad_norm_(alone, 0.5)
        for parameter, own in zip(fused, alone, strict=True):
            assert parameter.grad is not None
            assert own.grad is not None
            assert_close(parameter.grad[k], own.grad, 1e-6)


@pytest.mark.parametrize("equal_sentences", [False, True])
def test_a_fused_layout_pads_and_packs_each_batch_by_itself(equal_sentences: bool) -> None:
    layouts = [batch.src_layout for batch in BATCHES]
    fused, slots = Layout.fused(layouts, equal_sentences), max(layout.tokens for layout in layouts)
    assert fused.tokens == 3 * slots
    x = torch.arange(3 * slots)
    packed = fused.pack(fused.pad(x))
    for k, layout in enumerate(layouts):
        own = slice(k * slots, k * slots + layout.tokens)
        assert torch.equal(packed[own], x[own])
        assert torch.equal(fused.positions[own], layout.positions)
        assert (packed[own.stop : (k + 1) * slots] == k * slots).all()  # a slot without a token has the first one's
    if equal_sentences:
        assert fused.sentences == 3 * max(layout.sentences for layout in layouts)
        assert fused.mask.any(1).all()
    else:
        assert fused.sentences == sum(layout.sentences for layout in layouts)
        assert torch.equal(fused.lengths, torch.cat([layout.lengths for layout in layouts]))


def test_batches_without_padding_are_one_without_padding() -> None:
    even = Layout.uniform(2, 3)
    fused = Layout.fused([even, even])
    assert fused.rectangular
    assert torch.equal(fused.pad(torch.arange(12)), torch.arange(12).view(4, 3))
    for other in (Layout.uniform(3, 2), Layout.uniform(1, 3), Layout.from_lengths(torch.tensor([3, 2, 1]))):
        assert not Layout.fused([even, other]).rectangular


REFUSALS = {
    "model.encoder_mixer.kind is lstm": replace(BASE, encoder_mixer=MixerConfig(Mixer.lstm)),
    "model.decoder_mixer.kind is gru": replace(BASE, decoder_mixer=MixerConfig(Mixer.gru)),
    "model.norm.kind is batch": replace(BASE, norm=NormConfig(Norm.batch)),
    "model.feed_forward.kind is experts": replace(BASE, feed_forward=FeedForwardConfig(FeedForward.experts)),
    "model.attention.dropout is 0.1": replace(BASE, attention=replace(BASE.attention, dropout=0.1)),
}


@pytest.mark.parametrize(("message", "config"), REFUSALS.items(), ids=REFUSALS.keys())
def test_what_cannot_be_fused_is_refused_by_its_key(message: str, config: ModelConfig) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        FusedTransformer(networks(config, 1))


def test_only_what_is_refused_is_left_out() -> None:
    """Every other member of every enum is compared with its network above."""
    left_out = {name for name in ADMITTED if name not in FUSABLE}
    recurrent = {f"{stack}_mixer.kind={kind}" for stack in ("encoder", "decoder") for kind in ("lstm", "gru")}
    assert left_out == recurrent | {"norm.kind=batch", "feed_forward.kind=experts"}


def test_members_may_differ_in_their_rates_only() -> None:
    fused = FusedTransformer(networks(SHALLOW, 2))
    with pytest.raises(UserError, match="one optim, but for schedule, warmup, multiplier, peak"):
        LitFusedTransformer(fused, [OPTIM, replace(OPTIM, label_smoothing=0.2)], [0, 1])
    with pytest.raises(ValueError, match="not alike"):
        FusedTransformer([build(SHALLOW), build(SHALLOW, VOCAB + 1)])


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_members_compute_on_a_gpu_what_they_do_on_a_cpu() -> None:
    fused = FusedTransformer(networks(BASE)).eval()
    expected = fused.hidden(fused.batch(BATCHES))
    hidden = fused.cuda().hidden(fused.batch(BATCHES).to("cuda")).cpu()
    for k, batch in enumerate(BATCHES):
        assert_close(hidden[k, : len(batch.tgt_out)], expected[k, : len(batch.tgt_out)], 1e-4)
