"""Multi-head attention: scores, scaling, masks and options."""

from dataclasses import dataclass, replace

from lit_transformer.config.base import Kind, option, require, require_at_least_one, require_probability
from lit_transformer.errors import UserError


class Score(Kind):
    """The score of a query q and a key k."""

    dot = "dot", "q.k", "Vaswani et al. 2017, 3.2.1"
    bilinear = "bilinear", "q.(W k), a trained matrix per head", "Luong et al. 2015, general"
    additive = "additive", "v.tanh(q + k), a trained vector per head", "Bahdanau et al. 2015"

    @property
    def companions(self) -> dict[str, Kind]:
        """The papers of the other scores do not scale them."""
        return {} if self is Score.dot else {"scale": Scale.none}


class Scale(Kind):
    """The factor on the scores before the softmax (section 3.2.1)."""

    inverse_sqrt = "inverse_sqrt", "1/sqrt(d_k): unit vectors' products keep variance 1", "Vaswani et al. 2017, 3.2.1"
    inverse = "inverse", "1/d_k: for queries and keys that are correlated", "Yang et al. 2021, muP"
    learned = "learned", "a trained factor per head, from 1/sqrt(d_k)", "Henry et al. 2020"
    none = "none", "1: the scores as they are", "Luong et al. 2015, dot"


class Mask(Kind):
    """How a key that a query must not attend to is masked."""

    minus_inf = "minus_inf", "minus infinity: its weight is 0", "Vaswani et al. 2017, 3.2.3"
    minus_1e9 = "minus_1e9", "-1e9, which float32 rounds to weight 0", "Vaswani et al. 2018, T2T"
    zero_score = "zero_score", "0 before the softmax: WRONG, later tokens leak; for teaching", "a common mistake"

    @property
    def leaks(self) -> bool:
        """True where masked keys keep some weight, so that training sees what decoding cannot."""
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
        "heads of keys and values, each shared by a group of query heads; 1: multi-query",
        "Shazeer 2019; Ainslie et al. 2023",
    )
    """Divides `heads`; 0: as many as `heads`."""
    score: Score = Score.dot
    scale: Scale = Scale.inverse_sqrt
    mask: Mask = Mask.minus_inf
    qk_norm: bool = option(False, "RMSNorm of each head's queries and keys", "Dehghani et al. 2023, there LayerNorm")
    talking_heads: bool = option(False, "heads mix before and after the softmax", "Shazeer et al. 2020")
    gate: bool = option(False, "a sigmoid of the query's token gates the heads' outputs", "Qiu et al. 2025")
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


@dataclass(frozen=True)
class AttentionDelta:
    """The fields of `AttentionConfig` in which one attention differs from `model.attention`; None: as there."""

    heads: int | None = None
    d_k: int | None = None
    d_v: int | None = None
    kv_heads: int | None = None
    score: Score | None = None
    scale: Scale | None = None
    mask: Mask | None = None
    qk_norm: bool | None = None
    talking_heads: bool | None = None
    gate: bool | None = None
    bias: bool | None = None
    dropout: float | None = None


def apply_delta(config: AttentionConfig, delta: AttentionDelta, place: str) -> AttentionConfig:
    """Return `config` with the changes of `delta`. Errors name the place, a key of `model`."""
    changes = {name: value for name, value in vars(delta).items() if value is not None}
    try:
        return replace(config, **changes)
    except UserError as error:
        raise UserError(str(error).replace("model.attention", place)) from None
