"""The position-wise feed-forward network."""

from dataclasses import dataclass

from lit_transformer.config.base import Kind, option, require, require_at_least_one, require_probability


class FeedForward(Kind):
    """The position-wise network of every layer (section 3.3); * is the element-wise product."""

    relu = "relu", "W2 relu(W1 x)", "Vaswani et al. 2017, 3.3"
    gelu = "gelu", "W2 gelu(W1 x)", "Hendrycks and Gimpel 2016"
    swish = "swish", "W2 swish(W1 x), with swish(z) = z sigmoid(z)", "Ramachandran et al. 2017"
    squared_relu = "squared_relu", "W2 relu(W1 x)^2", "So et al. 2021"
    glu = "glu", "W2 (sigmoid(W1 x) * V x)", "Dauphin et al. 2017"
    reglu = "reglu", "W2 (relu(W1 x) * V x)", "Shazeer 2020"
    geglu = "geglu", "W2 (gelu(W1 x) * V x)", "Shazeer 2020"
    swiglu = "swiglu", "W2 (swish(W1 x) * V x)", "Shazeer 2020"
    experts = "experts", "a mixture: a router sends each token to a few of several ReLU networks", "Shazeer et al. 2017"
    none = "none", "no feed-forward sub-layer at all", "Vaswani et al. 2017, 3.3, left out"

    @property
    def gated(self) -> bool:
        """True where a third matrix, V, gates the activation."""
        return self in (FeedForward.glu, FeedForward.reglu, FeedForward.geglu, FeedForward.swiglu)


@dataclass(frozen=True)
class FeedForwardConfig:
    """The position-wise network: d_model -> d_ff -> d_model, with biases."""

    kind: FeedForward = FeedForward.relu
    d_ff: int = 2048
    dropout: float = option(0.0, "dropout after the activation; the paper describes none", "Vaswani et al. 2018, T2T")
    equal_parameters: bool = option(
        False, "narrow a gated network so that it has as many parameters as an ungated one of d_ff", "Shazeer 2020"
    )
    experts: int = 4
    """Networks of a mixture of experts, in each layer."""
    top_k: int = 2
    """Active experts per token."""
    balance: float = option(0.01, "weight of the loss that keeps the experts equally busy", "Fedus et al. 2022, eq. 4")

    def __post_init__(self) -> None:
        require_at_least_one(self, "model.feed_forward", "d_ff", "experts", "top_k")
        require_probability("model.feed_forward.dropout", self.dropout)
        require(
            self.top_k <= self.experts,
            f"model.feed_forward.top_k is {self.top_k}; it must be at most model.feed_forward.experts, {self.experts}",
        )
        require(self.balance >= 0, f"model.feed_forward.balance is {self.balance}; it must be at least 0")

    def width(self, d_model: int) -> int:
        """Return the hidden units: d_ff, or about 2/3 of it for `equal_parameters`.

        A unit of an ungated network has 2 d_model + 1 parameters, of a gated one 3 d_model + 2, biases included; the
        narrowed network is the nearest, so that the two differ by at most half a unit's.
        """
        if not (self.equal_parameters and self.kind.gated):
            return self.d_ff
        return max(1, round(self.d_ff * (2 * d_model + 1) / (3 * d_model + 2)))
