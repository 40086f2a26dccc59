"""Normalisation: what it computes, and its placement around every sub-layer."""

from dataclasses import dataclass

from lit_transformer.config.base import Kind, require, require_at_least_one
from lit_transformer.config.feed_forward import FeedForward, FeedForwardConfig
from lit_transformer.config.residual import Residual, ResidualConfig


class Norm(Kind):
    """What normalises the vectors around a sub-layer."""

    layer = "layer", "mean 0 and variance 1 over a token's features, with gain and bias", "Ba et al. 2016"
    rms = "rms", "root mean square 1 over a token's features, with gain", "Zhang and Sennrich 2019"
    batch = "batch", "mean 0 and variance 1 of a feature over the tokens of the batch", "Ioffe and Szegedy 2015"
    instance = "instance", "mean 0 and variance 1 of a feature over its sentence so far", "Ulyanov et al. 2016"
    group = "group", "mean 0 and variance 1 over `groups` parts of a token's features", "Wu and He 2018"
    scale = "scale", "a token's vector is scaled to one trained length", "Nguyen and Salazar 2019"
    dyt = "dyt", "gain * tanh(alpha x) + bias: no statistics at all", "Zhu et al. 2025"
    none = "none", "nothing", "Vaswani et al. 2017, 5.4, left out"


class Placement(Kind):
    """The placement of the norms around f, a mixer or feed-forward network."""

    post = "post", "norm(x + f(x)), the paper's", "Vaswani et al. 2017, 3.1"
    pre = "pre", "x + f(norm(x)), and a final norm per stack", "Wang et al. 2019; Xiong et al. 2020"
    sandwich = "sandwich", "x + norm(f(norm(x))), and a final norm per stack", "Ding et al. 2021"
    deep_norm = (
        "deep_norm",
        "norm(alpha x + f(x)), alpha and the initial values depending on the depths",
        "Wang et al. 2022",
    )
    b2t = "b2t", "norm(x + f(x)), a layer's last norm also taking the layer's input", "Takase et al. 2023"
    norm_former = "norm_former", "pre-norm, and norms after attention and inside the network", "Shleifer et al. 2021"


@dataclass(frozen=True)
class NormConfig:
    """Normalisation around every sub-layer."""

    kind: Norm = Norm.layer
    placement: Placement = Placement.post
    eps: float = 1e-6
    """Added to a variance or mean square; the least length of `scale`; unused by `dyt` and `none`."""
    groups: int = 8
    """Groups of features of `group`; divides d_model."""

    def __post_init__(self) -> None:
        require(self.eps > 0, f"model.norm.eps is {self.eps}; it must be above 0")
        require_at_least_one(self, "model.norm", "groups")
        require(
            self.kind is not Norm.instance or self.placement is not Placement.norm_former,
            "model.norm.placement is norm_former, whose norm inside the feed-forward network sees one token at a time, "
            "and model.norm.kind is instance, which needs a sentence: choose another of the two",
        )


def require_joint(norm: NormConfig, residual: ResidualConfig, network: FeedForwardConfig, d_model: int) -> None:
    """Raise `UserError` where the norms do not fit the sub-layers."""
    has_residual = residual.kind is not Residual.none
    require(
        norm.placement is not Placement.deep_norm or has_residual,
        "model.norm.placement is deep_norm, which scales the residual connection, and model.residual.kind is none: "
        "choose another of the two",
    )
    require(
        norm.placement is not Placement.b2t or has_residual,
        "model.norm.placement is b2t, which is one more residual connection, and model.residual.kind is none: "
        "choose another of the two",
    )
    inside = norm.placement is Placement.norm_former and network.kind is not FeedForward.none
    if norm.kind is Norm.group:
        _require_groups(norm.groups, "model.d_model", d_model)
        if inside:
            _require_groups(norm.groups, "the width inside the feed-forward network", network.width(d_model))
    require(
        not (inside and norm.kind is Norm.batch and network.kind is FeedForward.experts),
        "model.norm.placement is norm_former with model.norm.kind batch, but an expert may meet a single token, which "
        "has no variance: choose another model.norm.kind, or another model.feed_forward.kind than experts",
    )


def _require_groups(groups: int, name: str, width: int) -> None:
    require(
        width % groups == 0 and width > groups,
        f"model.norm.groups is {groups}; it must divide {name}, {width}, into groups of at least 2 features",
    )
