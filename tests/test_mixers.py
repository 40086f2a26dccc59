"""Mixers against torch's own layers with copied weights; mixed models; wrong values."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.mixers import build_mixers
from lit_transformer.components.mixers.average import RunningMean, SentenceMean
from lit_transformer.components.token_mixer import TokenMixer
from lit_transformer.config import Initialisation, Mixer, MixerConfig, PositionConfig, Positions, Score
from lit_transformer.errors import UserError
from lit_transformer.transformer import build_transformer
from tests.small_mixers import RAGGED, D, both_stacks, mixers, sentences, with_mixer
from tests.small_models import BASE, VOCAB, assert_close, build
from tests.twins.attention import naive_self_attention


def assert_same_a_sentence(part: TokenMixer, alone: Callable[[Tensor], Tensor]) -> None:
    """Assert that outputs and gradients of a ragged batch are those of `alone`, (L, D) -> (L, D), one by one."""
    x = sentences()
    y, _ = part(x, RAGGED)
    expected = torch.cat([alone(sentence) for sentence in x.split(RAGGED.lengths.tolist())])
    assert_close(y, expected, 1e-10)
    upstream = torch.randn_like(y)
    (mine,), (theirs,) = (torch.autograd.grad(result, x, upstream) for result in (y, expected))
    assert_close(mine, theirs, 1e-10)


@both_stacks
@pytest.mark.parametrize(("kind", "torchs"), [(Mixer.lstm, nn.LSTM), (Mixer.gru, nn.GRU)])
def test_recurrent_networks_equal_torchs_a_sentence(
    kind: Mixer, torchs: type[nn.LSTM] | type[nn.GRU], causal: bool
) -> None:
    (part,) = mixers(causal, kind=kind, width=7)
    network = torchs(D, 7, bidirectional=not causal).double()
    network.load_state_dict(part.network.state_dict())
    assert_same_a_sentence(part, lambda x: part.out_proj(network(x)[0]))


@pytest.mark.parametrize("kind", [Mixer.lstm, Mixer.gru])
def test_the_past_of_a_recurrent_network_is_its_state_at_each_sentences_end(kind: Mixer) -> None:
    (part,) = mixers(True, kind=kind)
    x = sentences()
    _, cache = part(x, RAGGED)
    for row, sentence in enumerate(x.split(RAGGED.lengths.tolist())):
        state = part.network(sentence)[1]
        for mine, theirs in zip(cache.tensors, state if kind is Mixer.lstm else [state], strict=True):
            assert_close(mine[row], theirs, 1e-10)


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None, causal: bool, dilation: int, groups: int = 1) -> Tensor:
    """Run torch's convolution over one sentence (L, D), weight (outputs, D / groups, k): (L, outputs)."""
    reach = (weight.shape[2] - 1) * dilation
    padded = F.pad(x.T, (reach, 0) if causal else (reach // 2, reach // 2))
    return F.conv1d(padded[None], weight, bias, dilation=dilation, groups=groups)[0].T


def torchs_weight(convolve: nn.Linear) -> Tensor:
    return convolve.weight.unflatten(1, (-1, D)).transpose(1, 2)  # (outputs, k * D) -> (outputs, D, k)


@both_stacks
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_gated_convolution_equals_torchs(kernel: int, causal: bool) -> None:
    (part,) = mixers(causal, kind=Mixer.gated_convolution, kernel=kernel)
    weight, bias = torchs_weight(part.convolution), part.convolution.bias
    assert_same_a_sentence(part, lambda x: F.glu(convolved(x, weight, bias, causal, 1)))


@both_stacks
def test_dilated_convolution_equals_torchs_and_dilations_begin_again(causal: bool) -> None:
    parts = mixers(causal, layers=4, kind=Mixer.dilated_convolution, dilations=3)
    for part, dilation in zip(parts, (1, 2, 4, 1), strict=True):
        weight, bias = torchs_weight(part.convolution), part.convolution.bias

        def alone(x: Tensor, part=part, weight=weight, bias=bias, dilation=dilation) -> Tensor:
            return part.out_proj(convolved(x, weight, bias, causal, dilation).relu())

        assert_same_a_sentence(part, alone)


@both_stacks
def test_lightweight_convolution_equals_torchs_depthwise_one(causal: bool) -> None:
    (part,) = mixers(causal, kind=Mixer.lightweight_convolution, kernel=5, heads=8)
    kernels = part.kernels.weight.softmax(-1).repeat_interleave(D // 8, dim=0)  # (D, k)
    assert_same_a_sentence(
        part, lambda x: part.out_proj(convolved(F.glu(part.in_proj(x)), kernels[:, None], None, causal, 1, groups=D))
    )


@both_stacks
def test_dynamic_convolution_is_a_depthwise_one_with_each_tokens_own_kernels(causal: bool) -> None:
    (part,) = mixers(causal, kind=Mixer.dynamic_convolution, kernel=5, heads=2)

    def alone(x: Tensor) -> Tensor:
        x = F.glu(part.in_proj(x))
        rows = []
        for place, token in enumerate(x):
            kernels = part.kernels.linear(token).view(2, 5).softmax(-1).repeat_interleave(D // 2, dim=0)
            rows.append(convolved(x, kernels[:, None], None, causal, 1, groups=D)[place])
        return part.out_proj(torch.stack(rows))

    assert_same_a_sentence(part, alone)


@pytest.mark.parametrize("kind", [Mixer.lightweight_convolution, Mixer.dynamic_convolution])
def test_where_all_tokens_are_one_softmax_kernels_change_nothing(kind: Mixer) -> None:
    (part,) = mixers(False, kind=kind)
    x = sentences()[:1].expand(7, D)
    y, _ = part(x, Layout.uniform(1, 7))
    same = part.out_proj(F.glu(part.in_proj(x)))
    assert_close(y[1:-1], same[1:-1], 1e-12)
    assert (y - same)[[0, -1]].abs().max() > 1e-3  # zeros stand beside the ends


def test_fourier_is_torchs_transform_of_each_sentence() -> None:
    (part,) = mixers(False, kind=Mixer.fourier)
    assert_same_a_sentence(part, lambda x: torch.fft.fft2(x).real)


def test_fourier_computes_in_float32_under_autocast() -> None:
    (part,), x = mixers(False, kind=Mixer.fourier), sentences().float()
    with torch.autocast("cpu", torch.bfloat16):
        mixed, _ = part(x, RAGGED)
    exact, _ = part(x.double(), RAGGED)
    assert_close(mixed.double(), exact, 1e-4)  # sums of 100 numbers


@both_stacks
@pytest.mark.parametrize("score", Score)
@pytest.mark.parametrize("positions", [Positions.none, *(kind for kind in Positions if kind.inside_attention)])
def test_local_attention_equals_its_twin_with_all_that_acts_on_scores(
    positions: Positions, score: Score, causal: bool
) -> None:
    """Rows of padding see no real token through a window of 1, and must not poison gradients."""
    config = with_mixer(causal, kind=Mixer.local_attention, window=1)
    attention = replace(config.attention, score=score)
    try:
        config = replace(config, attention=attention, positions=PositionConfig(positions))
    except UserError:
        pytest.skip("no such pair")
    part = build_mixers(config, causal)[0].double()
    assert_same_a_sentence(part, lambda x: naive_self_attention(config, part, x, causal, window=1))


def test_means_by_hand() -> None:
    layout = Layout.from_lengths(torch.tensor([4, 2]))
    x = torch.tensor([1.0, 3.0, 8.0, 0.0, 5.0, -1.0])[:, None]
    running, _ = RunningMean()(x, layout, None)
    assert_close(running[:, 0], torch.tensor([1.0, 2.0, 4.0, 3.0, 5.0, 2.0]))
    whole, _ = SentenceMean()(x, layout, None)
    assert_close(whole[:, 0], torch.tensor([3.0, 3.0, 3.0, 3.0, 2.0, 2.0]))


def test_a_running_mean_remembers_sum_and_number() -> None:
    one, cache = torch.tensor([[2.0], [10.0]]), None
    for token, mean, total in ((one, [2.0, 10.0], [2.0, 10.0]), (one + 4, [4.0, 12.0], [8.0, 24.0])):
        y, cache = RunningMean()(token, Layout.uniform(2, 1), cache)
        assert y.flatten().tolist() == mean
        assert cache.tensors[0].flatten().tolist() == total
    assert cache.tensors[1].flatten().tolist() == [2, 2]


@both_stacks
def test_gates_of_the_average_weigh_the_token_and_its_mean(causal: bool) -> None:
    (part,), x = mixers(causal, kind=Mixer.average), sentences()
    nn.init.zeros_(part.gates.weight)
    y, _ = part(x, RAGGED)
    mean, _ = part.mean(x, RAGGED, None)
    read = part.network[2](part.network[0](mean).relu())
    keep, add = part.gates.bias.sigmoid().chunk(2)
    assert_close(y, keep * x + add * read, 1e-12)


MIXED = {
    "LSTM and dynamic": (MixerConfig(Mixer.lstm), MixerConfig(Mixer.dynamic_convolution)),
    "Fourier and GRU": (MixerConfig(Mixer.fourier), MixerConfig(Mixer.gru, width=9)),
    "gated and average": (MixerConfig(Mixer.gated_convolution), MixerConfig(Mixer.average)),
    "average and local": (MixerConfig(Mixer.average), MixerConfig(Mixer.local_attention, window=2)),
    "dilated and dilated": (
        MixerConfig(Mixer.dilated_convolution),
        MixerConfig(Mixer.dilated_convolution, kernel=4),
    ),
    "lightweight and LSTM": (MixerConfig(Mixer.lightweight_convolution), MixerConfig(Mixer.lstm)),
}


@pytest.mark.parametrize(("encoder", "decoder"), MIXED.values(), ids=MIXED.keys())
@pytest.mark.parametrize("bfloat16", [False, True], ids=["float32", "bfloat16"])
def test_a_mixed_model_decodes_as_it_reads_whole_sentences(
    encoder: MixerConfig, decoder: MixerConfig, bfloat16: bool
) -> None:
    if bfloat16 and decoder.kind is Mixer.lstm and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("torch has no LSTM in bfloat16 for this processor")
    model = build(replace(BASE, encoder_mixer=encoder, decoder_mixer=decoder, decoder_layers=3)).eval()
    src = torch.tensor([[5, 6, 7, 8, 2], [9, 2, 0, 0, 0]])
    tgt_in = torch.randint(4, VOCAB, (2, 14))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        expected = model(src, tgt_in)
        state = model.init_cache(model.encode(src))
        for place in range(14):
            logits, state = model.step(tgt_in[:, place], state)
            if bfloat16:  # 8 bits a number, rounded at other places
                assert (logits - expected[:, place]).norm() < 0.1 * expected[:, place].norm()
            else:
                assert_close(logits, expected[:, place])


@pytest.mark.parametrize(("kind", "gates"), [(Mixer.lstm, 4), (Mixer.gru, 3)])
def test_recurrent_matrices_follow_the_models_law_and_biases_begin_at_0(kind: Mixer, gates: int) -> None:
    encoder = MixerConfig(kind, width=128)
    config = replace(BASE, d_model=64, encoder_mixer=encoder)
    network = build_transformer(config, VOCAB).encoder.layers[0].sublayers["mixer"].inner.network
    bound = (6 / (64 + gates * 128)) ** 0.5
    assert network.weight_ih_l0_reverse.detach().abs().max() == pytest.approx(bound, rel=0.01)
    assert not any(bias.any() for name, bias in network.named_parameters() if name.startswith("bias"))
    normal = build_transformer(replace(config, initialisation=Initialisation.normal), VOCAB)
    network = normal.encoder.layers[0].sublayers["mixer"].inner.network
    assert network.weight_hh_l0.detach().std() == pytest.approx(0.02, rel=0.03)


@pytest.mark.parametrize(
    ("causal", "settings", "message"),
    [
        (False, {"window": 0}, "model.encoder_mixer.window is 0; it must be at least 1"),
        (True, {"kernel": 0}, "model.decoder_mixer.kernel is 0; it must be at least 1"),
        (True, {"dilations": 0}, "model.decoder_mixer.dilations is 0; it must be at least 1"),
        (False, {"heads": -1}, "model.encoder_mixer.heads is -1; it must be at least 1"),
        (True, {"width": -1}, "model.decoder_mixer.width is -1; it must be at least 1, or 0"),
        (True, {"kind": Mixer.fourier}, "model.decoder_mixer.kind is fourier, of which every output needs the whole"),
        (True, {"kind": Mixer.dynamic_convolution, "heads": 5}, "model.decoder_mixer.heads is 5; it must divide"),
        (False, {"kind": Mixer.lightweight_convolution, "heads": 3}, "must divide model.d_model, 16"),
        (False, {"kind": Mixer.gated_convolution, "kernel": 4}, "model.encoder_mixer.kernel is 4, which is even"),
        (False, {"kind": Mixer.dilated_convolution, "kernel": 2}, "choose an odd one"),
        (False, {"kind": Mixer.dynamic_convolution, "kernel": 2}, "choose an odd one"),
    ],
)
def test_wrong_values_are_refused(causal: bool, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        with_mixer(causal, **settings)


@pytest.mark.parametrize(
    ("causal", "settings"),
    [
        (True, {"kind": Mixer.gated_convolution, "kernel": 4}),  # back only
        (False, {"kind": Mixer.lstm, "kernel": 4, "heads": 5}),  # neither is its own
        (False, {"kind": Mixer.gated_convolution, "heads": 5}),
    ],
)
def test_what_does_no_harm_is_not_refused(causal: bool, settings: dict[str, Any]) -> None:
    assert len(mixers(causal, **settings)) == 1
