"""Norms by their formulas, and against other people's."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from x_transformers.x_transformers import DynamicTanh as TheirDynamicTanh
from x_transformers.x_transformers import ScaleNorm as TheirScaleNorm

from lit_transformer.batch import Layout
from lit_transformer.components.norms import CausalInstanceNorm, InstanceNorm, build_norm
from lit_transformer.components.token_mixer import TokenMixer, call_with_cache
from lit_transformer.config import ModelConfig, Norm, NormConfig
from lit_transformer.errors import UserError
from tests.norm_formulas import FORMULAS, LAYOUT, LENGTHS, D, norm_of, standard
from tests.small_models import BASE, assert_close, batch_of, build


@pytest.mark.parametrize("eps", [1e-6, 0.5])
@pytest.mark.parametrize("kind", Norm)
def test_norms_by_their_formulas(kind: Norm, eps: float) -> None:
    x = 3 * torch.randn(7, D) + 1
    x[0] /= 100  # so that even an eps of 0.5 is more than its length
    y, cache = call_with_cache(norm_of(NormConfig(kind=kind, eps=eps), D, causal=False), x, LAYOUT, None)
    assert cache is None
    assert_close(y, FORMULAS[kind](x, eps))


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_group_norm_is_layer_norm_of_each_group(groups: int) -> None:
    x = 3 * torch.randn(7, D) + 1
    y = build_norm(NormConfig(kind=Norm.group, groups=groups), D)(x)
    size = D // groups
    assert_close(y, torch.cat([F.layer_norm(group, (size,), eps=1e-6) for group in x.split(size, -1)], -1))
    assert_close(y, F.group_norm(x[..., None], groups, eps=1e-6)[..., 0])


def test_scale_norm_is_that_of_x_transformers() -> None:
    ours, theirs = build_norm(NormConfig(kind=Norm.scale), D), TheirScaleNorm(D)
    x = torch.randn(7, D)
    assert_close(ours(x), theirs(x))
    nn.init.constant_(ours.gain, 0.3 * D**0.5)
    nn.init.constant_(theirs.g, 0.3)
    assert_close(ours(x), theirs(x))
    assert [parameter.shape for parameter in ours.parameters()] == [(1,)]
    assert not ours(torch.zeros(1, D)).any()  # eps is the least length, so nothing is divided by 0


def test_dynamic_tanh_is_that_of_x_transformers() -> None:
    ours, theirs = build_norm(NormConfig(kind=Norm.dyt), D), TheirDynamicTanh(D, init_alpha=0.5)
    x = 3 * torch.randn(7, D)
    assert_close(ours(x), theirs(x))
    with torch.no_grad():
        pairs = ((ours.alpha, theirs.pre_tanh_scale), (ours.weight, theirs.gamma), (ours.bias, theirs.beta))
        for mine, twin in pairs:
            twin.copy_(mine.normal_().squeeze())
    assert_close(ours(x), theirs(x))


def test_batch_norm_sees_every_real_token_once() -> None:
    """Ragged sentences and the same tokens as one sentence have the same statistics, in training and after it."""
    ragged, single = (build_norm(NormConfig(kind=Norm.batch, eps=0.1), D) for _ in range(2))
    mean, variance = torch.zeros(D), torch.ones(D)
    for _ in range(3):
        x = 3 * torch.randn(7, D) + 1
        y = ragged(x)
        assert_close(y, standard(x, 0, 0.1))
        assert torch.equal(y, single(x))
        mean, variance = 0.9 * mean + 0.1 * x.mean(0), 0.9 * variance + 0.1 * x.var(0)
    x = torch.randn(7, D)
    assert_close(ragged.eval()(x), (x - mean) / (variance + 0.1).sqrt())
    assert_close(ragged(x[:1]), ragged(x)[:1])


def test_running_statistics_travel_in_the_state_dict() -> None:
    config, batch = replace(BASE, norm=NormConfig(kind=Norm.batch)), batch_of()
    one, other = build(config), build(config)
    for _ in range(3):
        one.hidden(batch)
    other.load_state_dict(one.state_dict())
    assert torch.equal(other.eval().hidden(batch), one.eval().hidden(batch))
    names = [name for name in one.state_dict() if name.endswith(("running_mean", "running_var"))]
    assert len(names) == 2 * (2 * 2 + 2 * 3)
    before = one.hidden(batch)
    one.train().hidden(batch)
    assert not torch.equal(one.eval().hidden(batch), before)


def instance_norms(causal: bool) -> tuple[TokenMixer, nn.InstanceNorm1d]:
    """Return ours and torch's with the same random gain and bias."""
    ours = norm_of(NormConfig(kind=Norm.instance, eps=1e-3), D, causal)
    theirs = nn.InstanceNorm1d(D, eps=1e-3, affine=True)
    with torch.no_grad():
        theirs.weight.copy_(ours.weight.normal_())
        theirs.bias.copy_(ours.bias.normal_())
    return ours, theirs


def of_features(norm: nn.InstanceNorm1d, x: Tensor) -> Tensor:
    """Let torch's norm, which wants features before places, see the tokens (L, D) of one sentence."""
    return norm(x.T[None])[0].T


def test_instance_norm_of_the_encoder_is_torchs_of_each_sentence() -> None:
    ours, theirs = instance_norms(causal=False)
    x = 3 * torch.randn(7, D) + 1
    expected = torch.cat([of_features(theirs, sentence) for sentence in x.split(LENGTHS)])
    assert_close(ours(x, LAYOUT)[0], expected)


def test_instance_norm_of_the_decoder_is_torchs_of_each_prefix() -> None:
    ours, theirs = instance_norms(causal=True)
    x = 3 * torch.randn(7, D) + 1
    y, _ = ours(x, LAYOUT)
    for sentence, normed in zip(x.split(LENGTHS), y.split(LENGTHS), strict=True):
        assert torch.equal(normed[0], ours.bias)  # alone, so it has no variance
        for place in range(1, len(sentence)):
            assert_close(normed[place], of_features(theirs, sentence[: place + 1])[-1])


def test_instance_norm_goes_on_from_its_sums_row_by_row() -> None:
    ours, _ = instance_norms(causal=True)
    x = torch.randn(2, 5, D)
    whole, _ = ours(x.flatten(0, 1), Layout.uniform(2, 5))
    _, cache = ours(x[:, :2].flatten(0, 1), Layout.uniform(2, 2))
    cache = cache.select(torch.tensor([1, 0, 1]), None)
    for place in range(2, 5):
        y, cache = ours(x[[1, 0, 1], place], Layout.uniform(3, 1), cache)
        assert_close(y, whole.view(2, 5, D)[[1, 0, 1], place])


def test_instance_norm_survives_features_far_from_zero() -> None:
    """float32 squares of 1000 would leave a variance of 1 with two digits; distances from the first token keep it."""
    x = torch.randn(50, D) + 1000
    norm, layout = CausalInstanceNorm(D, 1e-6), Layout.uniform(1, 50)
    assert_close(norm(x, layout)[0].double(), norm.double()(x.double(), layout)[0], 1e-5)


@pytest.mark.parametrize("norm", [InstanceNorm(D, 1e-6), CausalInstanceNorm(D, 1e-6)])
def test_instance_norm_computes_in_float32_whatever_comes(norm: TokenMixer) -> None:
    x = (torch.randn(7, D) + 4).bfloat16()
    y, _ = norm(x, LAYOUT)
    assert y.dtype is torch.bfloat16
    assert torch.equal(y, norm(x.float(), LAYOUT)[0].bfloat16())


@pytest.mark.parametrize("groups", [3, 5, 512, 1024])
def test_groups_must_divide_the_features_into_more_than_one(groups: int) -> None:
    with pytest.raises(UserError, match=rf"model\.norm\.groups is {groups}; it must divide model\.d_model, 512"):
        ModelConfig(norm=NormConfig(kind=Norm.group, groups=groups))
    assert ModelConfig(norm=NormConfig(groups=groups))  # of no other kind


def test_norms_of_every_kind_count_at_least_one_group() -> None:
    with pytest.raises(UserError, match=r"model\.norm\.groups is 0; it must be at least 1"):
        NormConfig(groups=0)
