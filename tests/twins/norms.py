"""The twins of norms and residual connections, in evaluation."""

import torch
from torch import Tensor, nn

from lit_transformer.config import ModelConfig, Norm, Placement, Residual


def naive_norm(config: ModelConfig, norm: nn.Module, x: Tensor, causal: bool) -> Tensor:
    """Normalise the tokens (L, D) of one sentence."""
    if config.norm.kind is Norm.instance:
        return naive_instance(config, norm, x, causal)
    return torch.stack([naive_token(config, norm, token) for token in x])


def naive_inner_norm(config: ModelConfig, norm: nn.Module, wide: Tensor) -> Tensor:
    """Normalise (L, F) inside the feed-forward network, where NormFormer does."""
    if config.norm.placement is not Placement.norm_former:
        return wide
    return torch.stack([naive_token(config, norm, token) for token in wide])


def naive_instance(config: ModelConfig, norm: nn.Module, x: Tensor, causal: bool) -> Tensor:
    """Ulyanov et al. 2016: feature after feature, over the tokens that the place may see."""
    rows = []
    for place in range(len(x)):
        seen = x[: place + 1] if causal else x
        rows.append(torch.cat([_standard(seen[:, d], config.norm.eps)[place : place + 1] for d in range(x.shape[1])]))
    return torch.stack(rows) * norm.weight + norm.bias


def naive_token(config: ModelConfig, norm: nn.Module, x: Tensor) -> Tensor:
    """Normalise one token (D,), or what it is inside the feed-forward network (F,)."""
    eps = config.norm.eps
    match config.norm.kind:
        case Norm.layer:
            return _standard(x, eps) * norm.weight + norm.bias
        case Norm.rms:
            return x / (x.square().mean() + eps).sqrt() * norm.weight
        case Norm.batch:
            return (x - norm.running_mean) / (norm.running_var + eps).sqrt() * norm.weight + norm.bias
        case Norm.group:
            size = len(x) // config.norm.groups
            groups = [_standard(x[g * size : (g + 1) * size], eps) for g in range(config.norm.groups)]
            return torch.cat(groups) * norm.weight + norm.bias
        case Norm.scale:
            return norm.gain * x / (x @ x).sqrt()
        case Norm.dyt:
            return norm.weight * (1 - 2 / (1 + (2 * norm.alpha * x).exp())) + norm.bias
        case Norm.none:
            return x
        case Norm.instance:
            raise AssertionError("instance norm knows no single token")


def _standard(x: Tensor, eps: float) -> Tensor:
    """Mean 0, variance 1 of the population: (n,) -> (n,)."""
    mean = x.sum() / len(x)
    variance = (x - mean).square().sum() / len(x)
    return (x - mean) / (variance + eps).sqrt()


def naive_residual(config: ModelConfig, residual: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    match config.residual.kind:
        case Residual.identity | Residual.layer_drop:
            return x + y
        case Residual.scaled:
            return x + config.residual.alpha * y
        case Residual.rezero:
            return x + residual.gain * y
        case Residual.highway:
            gate = 1 / (1 + (-(x @ residual.gate.weight.T + residual.gate.bias - 1)).exp())
            return (1 - gate) * x + gate * y
        case Residual.none:
            return y


def naive_shortcut(config: ModelConfig, x: Tensor, layer_input: Tensor | None, causal: bool) -> Tensor:
    """Return the input of the residual connection; layer_input is given at the layer's last sub-layer only."""
    n, m = config.encoder_layers, config.decoder_layers
    if config.norm.placement is Placement.deep_norm:
        return x * ((3 * m) ** (1 / 4) if causal else 0.81 * n ** (4 / 16) * m ** (1 / 16))
    if config.norm.placement is Placement.b2t and layer_input is not None:
        return x + layer_input
    return x
