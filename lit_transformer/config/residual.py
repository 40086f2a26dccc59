"""The residual connection of every sub-layer."""

from dataclasses import dataclass

from lit_transformer.config.base import Kind, require, require_probability


class Residual(Kind):
    """How a sub-layer's output y = f(x) joins its input x."""

    identity = "identity", "x + y", "He et al. 2016"
    scaled = "scaled", "x + alpha y, alpha fixed", "Szegedy et al. 2017"
    rezero = "rezero", "x + g y, g trained from 0", "Bachlechner et al. 2021"
    highway = "highway", "(1 - t) x + t y, t = sigmoid(W x + b) per feature", "Srivastava et al. 2015"
    layer_drop = "layer_drop", "x + y, y dropped at random in training", "Huang et al. 2016; Fan et al. 2020"
    none = "none", "y alone", "Vaswani et al. 2017, 3.1, left out"


@dataclass(frozen=True)
class ResidualConfig:
    """The residual connection of every sub-layer."""

    kind: Residual = Residual.identity
    alpha: float = 0.5
    """Factor on a sub-layer's output; `scaled` only."""
    rate: float = 0.1
    """Probability that a sub-layer is dropped in a training step; `layer_drop` only."""

    def __post_init__(self) -> None:
        require(self.alpha > 0, f"model.residual.alpha is {self.alpha}; it must be above 0")
        require_probability("model.residual.rate", self.rate)
