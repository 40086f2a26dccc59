"""Attention: how queries, keys and values meet."""

from dataclasses import dataclass, fields, make_dataclass, replace
from typing import TYPE_CHECKING

from lit_transformer.config.base import Kind, option, require_at_least_one, require_probability
from lit_transformer.errors import UserError


class Scale(Kind):
    """What the scores are multiplied by before the softmax (section 3.2.1)."""

    inverse_sqrt = "inverse_sqrt", "1/sqrt(d_k): unit vectors' products keep variance 1", "Vaswani et al. 2017, 3.2.1"
    none = "none", "1: the scores as they are", "Luong et al. 2015, dot"


@dataclass(frozen=True)
class AttentionConfig:
    """Multi-head attention (section 3.2.2); heads, d_k and d_v are free of d_model."""

    heads: int = 8
    d_k: int = 64
    """Width of a head's queries and keys."""
    d_v: int = 64
    """Width of a head's values."""
    scale: Scale = Scale.inverse_sqrt
    bias: bool = option(False, "biases on the four projections; the paper writes none", "Vaswani et al. 2018, T2T")
    dropout: float = option(0.0, "dropout of the attention weights; the paper describes none", "Vaswani et al. 2018")

    def __post_init__(self) -> None:
        require_at_least_one(self, "model.attention", "heads", "d_k", "d_v")
        require_probability("model.attention.dropout", self.dropout)


if TYPE_CHECKING:

    class AttentionDelta(AttentionConfig):
        """What one place sets apart from `model.attention`; every field may be None: as there."""

else:
    AttentionDelta = make_dataclass(
        "AttentionDelta", [(field.name, field.type | None, None) for field in fields(AttentionConfig)], frozen=True
    )
    AttentionDelta.__module__ = __name__  # where pickles look for it


def set_apart(config: AttentionConfig, delta: AttentionDelta, place: str) -> AttentionConfig:
    """Return the attention of one place: `config` but for what `delta` sets. Errors name the place."""
    changes = {name: value for name, value in vars(delta).items() if value is not None}
    try:
        return replace(config, **changes)
    except UserError as error:
        raise UserError(str(error).replace("model.attention", place)) from None
