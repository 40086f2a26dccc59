"""The twins of mixers: one sentence, place after place, feature after feature where the formula does so."""

import cmath
import math

import torch
from torch import Tensor, nn

from lit_transformer.config import Directions, Mixer, MixerConfig, ModelConfig
from tests.twins.attention import naive_self_attention


def naive_mixer(config: ModelConfig, part: nn.Module, x: Tensor, causal: bool, layer: int) -> Tensor:
    """Mix the tokens (L, D) of one sentence, in the layer of that index from the bottom."""
    mixer = config.decoder_mixer if causal else config.encoder_mixer
    match mixer.kind:
        case Mixer.attention:
            return naive_self_attention(config, part, x, causal)
        case Mixer.local_attention:
            return naive_self_attention(config, part, x, causal, mixer.window)
        case Mixer.lstm | Mixer.gru:
            return naive_recurrent(mixer, part, x, causal, layer)
        case Mixer.gated_convolution:
            value, gate = naive_convolution(mixer, part.convolution, x, causal, 1).chunk(2, -1)
            return value / (1 + (-gate).exp())
        case Mixer.dilated_convolution:
            dilation = [2**power for power in range(mixer.dilations)][layer % mixer.dilations]
            return part.out_proj(naive_convolution(mixer, part.convolution, x, causal, dilation).clamp(min=0))
        case Mixer.lightweight_convolution | Mixer.dynamic_convolution:
            return naive_lightweight(mixer, part, x, causal)
        case Mixer.average:
            return naive_average(part, x, causal)
        case Mixer.fourier:
            return naive_fourier(x)


def naive_recurrent(mixer: MixerConfig, part: nn.Module, x: Tensor, causal: bool, layer: int) -> Tensor:
    step = naive_lstm_step if mixer.kind is Mixer.lstm else naive_gru_step
    forward = naive_reading(step, part.network, "l0", x)
    one_way = {Directions.both: False, Directions.bottom: layer > 0, Directions.forward: True}[mixer.directions]
    if causal or one_way:
        return part.out_proj(forward)
    backward = naive_reading(step, part.network, "l0_reverse", x.flip(0)).flip(0)
    return part.out_proj(torch.cat([forward, backward], -1))


def naive_reading(step, network: nn.Module, name: str, x: Tensor) -> Tensor:
    """Read tokens (L, D) in their order: (L, units)."""
    weights = [getattr(network, f"{kind}_{name}") for kind in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")]
    state, read = [x.new_zeros(network.hidden_size)] * 2, []
    for token in x:
        state = step(weights, token, *state)
        read.append(state[0])
    return torch.stack(read)


def naive_lstm_step(weights: list[Tensor], x: Tensor, h: Tensor, c: Tensor) -> list[Tensor]:
    """Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000."""
    i, f, g, o = (weights[0] @ x + weights[1] + weights[2] @ h + weights[3]).chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return [o.sigmoid() * c.tanh(), c]


def naive_gru_step(weights: list[Tensor], x: Tensor, h: Tensor, unused: Tensor) -> list[Tensor]:
    """Cho et al. 2014; the reset gate acts after the product, as in torch."""
    from_x, from_h = (weights[0] @ x + weights[1]).chunk(3), (weights[2] @ h + weights[3]).chunk(3)
    reset, update = ((from_x[gate] + from_h[gate]).sigmoid() for gate in (0, 1))
    new = (from_x[2] + reset * from_h[2]).tanh()
    return [(1 - update) * new + update * h, unused]


def naive_places(mixer: MixerConfig, place: int, causal: bool, dilation: int) -> list[int]:
    """Return the places that a convolution joins at one place, the earliest first; some lie outside the sentence."""
    ahead = 0 if causal else mixer.kernel // 2
    return [place + (tap - mixer.kernel + 1 + ahead) * dilation for tap in range(mixer.kernel)]


def naive_convolution(mixer: MixerConfig, linear: nn.Linear, x: Tensor, causal: bool, dilation: int) -> Tensor:
    """(L, D) -> (L, outputs)."""
    taps = linear.weight.split(x.shape[1], dim=1)  # a matrix for each
    outputs = []
    for place in range(len(x)):
        output = linear.bias
        for tap, seen in zip(taps, naive_places(mixer, place, causal, dilation), strict=True):
            if 0 <= seen < len(x):
                output = output + tap @ x[seen]
        outputs.append(output)
    return torch.stack(outputs)


def naive_lightweight(mixer: MixerConfig, part: nn.Module, x: Tensor, causal: bool) -> Tensor:
    value, gate = (x @ part.in_proj.weight.T + part.in_proj.bias).chunk(2, -1)
    x = value / (1 + (-gate).exp())
    outputs = []
    for place in range(len(x)):
        features = []
        for feature in range(x.shape[1]):
            head = feature * mixer.heads // x.shape[1]  # section 3
            if mixer.kind is Mixer.lightweight_convolution:
                scores = part.kernels.weight[head]
            else:
                scores = part.kernels.linear.weight.split(mixer.kernel)[head] @ x[place]
            weights = scores.exp() / scores.exp().sum()
            places = naive_places(mixer, place, causal, 1)
            features.append(sum(weights[tap] * x[j, feature] for tap, j in enumerate(places) if 0 <= j < len(x)))
        outputs.append(torch.stack(features))
    return part.out_proj(torch.stack(outputs))


def naive_average(part: nn.Module, x: Tensor, causal: bool) -> Tensor:
    outputs = []
    for place, token in enumerate(x):
        seen = x[: place + 1] if causal else x
        widen, _, narrow = part.network
        read = narrow(widen(sum(seen) / len(seen)).clamp(min=0))
        gates = part.gates.weight @ torch.cat([token, read]) + part.gates.bias
        keep, add = (1 / (1 + (-gates).exp())).chunk(2)
        outputs.append(keep * token + add * read)
    return torch.stack(outputs)


def naive_fourier(x: Tensor) -> Tensor:
    """Lee-Thorp et al. 2022, eq. 3, with the matrices of both transforms."""
    places, features = (
        torch.tensor(
            [[cmath.exp(-2j * math.pi * s * t / size) for s in range(size)] for t in range(size)], dtype=torch.cdouble
        )
        for size in x.shape
    )
    return (places @ x.to(torch.cdouble) @ features).real
