"""Attention: how queries, keys and values meet."""

from dataclasses import dataclass, fields, make_dataclass, replace
from typing import TYPE_CHECKING

from lit_transformer.config.base import Kind, option, require, require_at_least_one, require_probability
from lit_transformer.errors import UserError


class Score(Kind):
    """How a query q and a key k make a score."""

    dot = "dot", "q.k", "Vaswani et al. 2017, 3.2.1"
    bilinear = "bilinear", "q.(W k), a trained matrix a head", "Luong et al. 2015, general"
    additive = "additive", "v.tanh(q + k), a trained vector a head", "Bahdanau et al. 2015"


class Scale(Kind):
    """What the scores are multiplied by before the softmax (section 3.2.1)."""

    inverse_sqrt = "inverse_sqrt", "1/sqrt(d_k): unit vectors' products keep variance 1", "Vaswani et al. 2017, 3.2.1"
    inverse = "inverse", "1/d_k: for vectors that have learned to agree", "Yang et al. 2021, muP"
    learned = "learned", "a trained factor a head, from 1/sqrt(d_k)", "Henry et al. 2020"
    none = "none", "1: the scores as they are", "Luong et al. 2015, dot"


class Mask(Kind):
    """What happens to the score of a key that may not be looked at."""

    minus_inf = "minus_inf", "minus infinity: its weight is 0", "Vaswani et al. 2017, 3.2.3"
    minus_1e9 = "minus_1e9", "-1e9, which float32 rounds to weight 0", "Vaswani et al. 2018, T2T"
    zero_score = "zero_score", "0 before the softmax: WRONG, later tokens leak; for teaching", "a common mistake"

    @property
    def leaks(self) -> bool:
        """True where hidden keys keep some weight, so that training sees what decoding cannot."""
        return self is Mask.zero_score


@dataclass(frozen=True)
class AttentionConfig:
    """Multi-head attention (section 3.2.2); heads, d_k and d_v are free of d_model."""

    heads: int = 8
    d_k: int = 64
    """Width of a head's queries and keys."""
    d_v: int = 64
    """Width of a head's values."""
    kv_heads: int = option(
        0,
        "heads of keys and values, shared by groups of query heads; 1: multi-query",
        "Shazeer 2019; Ainslie et al. 2023",
    )
    """Divides `heads`; 0: as many as `heads`."""
    score: Score = Score.dot
    scale: Scale = Scale.inverse_sqrt
    mask: Mask = Mask.minus_inf
    qk_norm: bool = option(False, "RMSNorm of each head's queries and keys", "Dehghani et al. 2023, there LayerNorm")
    talking_heads: bool = option(False, "heads mix before and after the softmax", "Shazeer et al. 2020")
    gate: bool = option(False, "a sigmoid of the query's token gates what the heads say", "Qiu et al. 2025")
    bias: bool = option(False, "biases on the four projections; the paper writes none", "Vaswani et al. 2018, T2T")
    dropout: float = option(0.0, "dropout of the attention weights; the paper describes none", "Vaswani et al. 2018")

    def __post_init__(self) -> None:
        require_at_least_one(self, "model.attention", "heads", "d_k", "d_v")
        require_probability("model.attention.dropout", self.dropout)
        require(
            self.kv_heads >= 0 and self.heads % (self.kv_heads or self.heads) == 0,
            f"model.attention.kv_heads is {self.kv_heads}; it must divide model.attention.heads, {self.heads}, "
            "or be 0 for as many",
        )


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
