"""The twins of norms and residual connections, in evaluation."""

from torch import Tensor, nn

from lit_transformer.config import ModelConfig, Norm, Residual


def naive_norm(config: ModelConfig, norm: nn.Module, x: Tensor, causal: bool) -> Tensor:
    """Normalise the tokens (L, D) of one sentence."""
    eps = config.norm.eps
    match config.norm.kind:
        case Norm.layer:
            centred = x - x.mean(-1, keepdim=True)
            scale = (centred.square().mean(-1, keepdim=True) + eps).sqrt()
            return centred / scale * norm.inner.weight + norm.inner.bias
        case Norm.rms:
            return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * norm.inner.weight
        case Norm.none:
            return x


def naive_residual(config: ModelConfig, residual: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    match config.residual.kind:
        case Residual.identity:
            return x + y
        case Residual.none:
            return y
