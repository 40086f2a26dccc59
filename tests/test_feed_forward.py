"""Feed-forward networks: by their formulas, against x-transformers with copied weights, and as wide as they should."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from x_transformers.x_transformers import FeedForward as Reference

from lit_transformer.components.feed_forward import build_feed_forward
from lit_transformer.config import FeedForward, FeedForwardConfig
from lit_transformer.errors import UserError
from lit_transformer.flops import parameter_count
from tests.small_models import BASE, assert_close, build

D, F_WIDE = 16, 24
ACTIVATIONS = {
    FeedForward.relu: F.relu,
    FeedForward.gelu: F.gelu,
    FeedForward.swish: F.silu,
    FeedForward.squared_relu: lambda z: F.relu(z) ** 2,
    FeedForward.glu: torch.sigmoid,
    FeedForward.reglu: F.relu,
    FeedForward.geglu: F.gelu,
    FeedForward.swiglu: F.silu,
}
GATED = [kind for kind in FeedForward if kind.gated]
UNGATED = [kind for kind in ACTIVATIONS if not kind.gated]
REFERENCES: dict[FeedForward, dict[str, Any]] = {
    FeedForward.relu: {"custom_activation": nn.ReLU()},
    FeedForward.gelu: {},
    FeedForward.swish: {"swish": True},
    FeedForward.squared_relu: {"relu_squared": True},
    FeedForward.glu: {"glu": True, "custom_activation": nn.Sigmoid()},
    FeedForward.reglu: {"glu": True, "custom_activation": nn.ReLU()},
    FeedForward.geglu: {"glu": True},
    FeedForward.swiglu: {"glu": True, "swish": True},
}

every_network = pytest.mark.parametrize("kind", ACTIVATIONS)


def network_of(config: FeedForwardConfig, d_model: int = D, **settings: Any) -> nn.Module:
    part = build_feed_forward(config, d_model, **settings)
    assert part is not None
    return part


def test_the_kinds_with_a_third_matrix() -> None:
    assert {FeedForward.glu, FeedForward.reglu, FeedForward.geglu, FeedForward.swiglu} == set(GATED)
    assert set(ACTIVATIONS) | {FeedForward.experts, FeedForward.none} == set(FeedForward)


@every_network
def test_a_network_is_its_formula(kind: FeedForward) -> None:
    network, x = network_of(FeedForwardConfig(kind=kind, d_ff=20)), torch.randn(7, D)
    first = network.gate if kind.gated else network.fc1
    inner = ACTIVATIONS[kind](x @ first.weight.T + first.bias)
    if kind.gated:
        inner = inner * (x @ network.fc1.weight.T + network.fc1.bias)
    assert_close(network(x), inner @ network.fc2.weight.T + network.fc2.bias)


@pytest.mark.parametrize("normed", [False, True], ids=["plain", "normed inside"])
@every_network
def test_a_network_equals_x_transformers(kind: FeedForward, normed: bool) -> None:
    settings = {"norm": nn.LayerNorm} if normed else {}
    ours = network_of(FeedForwardConfig(kind=kind, d_ff=F_WIDE), **settings)
    theirs = Reference(D, mult=F_WIDE / D, post_act_ln=normed, **REFERENCES[kind])
    first, last = theirs.ff[0], theirs.ff[-1]
    first = first.proj if kind.gated else first[0]
    pairs = [([ours.fc2.weight], last.weight), ([ours.fc2.bias], last.bias)]
    inputs = [ours.fc1, ours.gate] if kind.gated else [ours.fc1]
    pairs += [([linear.weight for linear in inputs], first.weight), ([linear.bias for linear in inputs], first.bias)]
    if normed:
        (gain,) = [parameter for name, parameter in theirs.named_parameters() if parameter.shape == (F_WIDE,)][-1:]
        pairs.append(([ours.norm.weight], gain))
        assert isinstance(ours.norm, nn.LayerNorm)
    with torch.no_grad():
        for mine, twin in pairs:
            twin.copy_(torch.cat(list(mine)))
    x = torch.randn(9, D)
    assert_close(ours(x), theirs(x))
    upstream = torch.randn(9, D)
    ours(x).backward(upstream)
    theirs(x).backward(upstream)
    for mine, twin in pairs:
        assert_close(torch.cat([parameter.grad for parameter in mine]), twin.grad)


@pytest.mark.parametrize(("d_model", "d_ff"), [(512, 2048), (1024, 4096), (128, 512), (16, 24), (3, 1), (7, 100)])
@pytest.mark.parametrize("kind", GATED)
def test_a_narrowed_gated_network_has_as_many_parameters(kind: FeedForward, d_model: int, d_ff: int) -> None:
    def parameters(config: FeedForwardConfig) -> int:
        return sum(parameter.numel() for parameter in network_of(config, d_model).parameters())

    plain = parameters(FeedForwardConfig(d_ff=d_ff))
    narrow = parameters(FeedForwardConfig(kind=kind, d_ff=d_ff, equal_parameters=True))
    unit = 3 * d_model + 2
    assert abs(narrow - plain) <= (unit / 2 if d_ff > 1 else unit)
    assert parameters(FeedForwardConfig(kind=kind, d_ff=d_ff)) - plain == d_ff * (d_model + 1)


def test_a_narrowed_network_has_two_thirds_of_the_units() -> None:
    config = FeedForwardConfig(kind=FeedForward.geglu, d_ff=3072, equal_parameters=True)
    assert config.width(768) == pytest.approx(2048, abs=1)  # Shazeer 2020, section 3.1
    for kind in UNGATED:
        assert replace(config, kind=kind).width(768) == 3072
    assert replace(config, equal_parameters=False).width(768) == 3072


@every_network
def test_dropout_falls_after_the_activation_and_before_the_norm(kind: FeedForward) -> None:
    settings = FeedForwardConfig(kind=kind, d_ff=4000, dropout=0.25)
    network, caught = network_of(settings, norm=_Tripled), {}
    network.fc2.register_forward_pre_hook(lambda _, inputs: caught.update(hidden=inputs[0]))
    x = torch.randn(1, D)
    network(x)
    dropped = caught["hidden"]
    network.eval()(x)
    hidden = caught["hidden"]
    alive = hidden != 0  # a relu is 0 here and there by itself
    kept = dropped != 0
    assert_close(dropped[kept], (hidden / 0.75)[kept], 1e-4)
    assert kept.sum() / alive.sum() == pytest.approx(0.75, abs=0.05)
    inner = ACTIVATIONS[kind]((network.gate if kind.gated else network.fc1)(x))
    assert_close(hidden, 3 * (inner * network.fc1(x) if kind.gated else inner))


class _Tripled(nn.Module):
    """Stands in for a norm and shows where it stood."""

    def __init__(self, width: int) -> None:
        super().__init__()
        assert width == 4000

    def forward(self, x: Tensor) -> Tensor:
        return 3 * x


def test_no_feed_forward_leaves_the_sublayer_out() -> None:
    without = replace(BASE, feed_forward=replace(BASE.feed_forward, kind=FeedForward.none))
    model = build(without)
    assert {name for name, _ in model.encoder.sublayers()} == {"mixer"}
    assert {name for name, _ in model.decoder.sublayers()} == {"mixer", "cross"}
    network = 2 * D * F_WIDE + F_WIDE + D
    norm = 2 * D
    assert parameter_count(build(BASE)) - parameter_count(model) == 4 * (network + norm)


def test_each_expert_has_a_norm_of_its_own() -> None:
    part = build_feed_forward(FeedForwardConfig(kind=FeedForward.experts, d_ff=24), D, norm=nn.LayerNorm)
    norms = {id(expert.norm) for expert in part.experts}
    assert len(norms) == 4
    y = part(torch.randn(5, D))
    assert y.shape == (5, D)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"experts": 0}, "model.feed_forward.experts is 0; it must be at least 1"),
        ({"top_k": 0}, "model.feed_forward.top_k is 0; it must be at least 1"),
        ({"top_k": 5}, "model.feed_forward.top_k is 5; it must be at most model.feed_forward.experts, 4"),
        ({"balance": -0.1}, "model.feed_forward.balance is -0.1; it must be at least 0"),
        ({"balance": float("nan")}, "model.feed_forward.balance is nan; it must be at least 0"),
    ],
)
def test_a_wrong_value_is_refused_by_its_key(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError) as error:
        FeedForwardConfig(**settings)
    assert str(error.value) == expected
