"""The position-wise feed-forward network."""

from dataclasses import dataclass

from lit_transformer.config.base import Kind, option, require_at_least_one, require_probability


class FeedForward(Kind):
    """The position-wise network of every layer (section 3.3)."""

    relu = "relu", "W2 relu(W1 x)", "Vaswani et al. 2017, 3.3"
    gelu = "gelu", "W2 gelu(W1 x)", "Hendrycks and Gimpel 2016"


@dataclass(frozen=True)
class FeedForwardConfig:
    """The position-wise network: d_model -> d_ff -> d_model, with biases."""

    kind: FeedForward = FeedForward.relu
    d_ff: int = 2048
    dropout: float = option(0.0, "dropout after the activation; the paper describes none", "Vaswani et al. 2018, T2T")

    def __post_init__(self) -> None:
        require_at_least_one(self, "model.feed_forward", "d_ff")
        require_probability("model.feed_forward.dropout", self.dropout)
