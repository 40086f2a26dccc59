"""Normalisation and the residual connection: what stands around every sub-layer."""

from dataclasses import dataclass

from lit_transformer.config.base import Kind, require


class Norm(Kind):
    """What normalises the vectors around a sub-layer."""

    layer = "layer", "mean 0 and variance 1 over a token's features, with gain and bias", "Ba et al. 2016"
    rms = "rms", "root mean square 1 over a token's features, with gain", "Zhang and Sennrich 2019"
    none = "none", "nothing", "Vaswani et al. 2017, 5.4, left out"


class Placement(Kind):
    """Where the norms of a sub-layer stand, with f the sub-layer."""

    post = "post", "norm(x + f(x)), the paper's", "Vaswani et al. 2017, 3.1"
    pre = "pre", "x + f(norm(x)), and a final norm a stack", "Wang et al. 2019; Xiong et al. 2020"


@dataclass(frozen=True)
class NormConfig:
    """Normalisation around every sub-layer."""

    kind: Norm = Norm.layer
    placement: Placement = Placement.post
    eps: float = 1e-6

    def __post_init__(self) -> None:
        require(self.eps > 0, f"model.norm.eps is {self.eps}; it must be above 0")


class Residual(Kind):
    """How a sub-layer's output y = f(x) joins its input x."""

    identity = "identity", "x + y", "He et al. 2016"
    none = "none", "y alone", "Vaswani et al. 2017, 3.1, left out"


@dataclass(frozen=True)
class ResidualConfig:
    """The residual connection of every sub-layer."""

    kind: Residual = Residual.identity
