"""Positions inside self-attention: they turn queries and keys, or add to the scores.

Two hooks with neutral defaults. `turn(x, first)` acts on queries and keys (B, H, L, E) at the places first, first + 1,
...; `bias(queries, keys)` adds to the scores of queries (B, H, Q, E), which stand at the last Q of `keys` places.
Cached keys are kept turned, so a decoding step turns only the new one.
"""

from torch import Tensor, nn

from lit_transformer.config import ModelConfig


class ScorePositions(nn.Module):
    """Says nothing: positions, if any, came with the embeddings."""

    def turn(self, x: Tensor, first: int) -> Tensor:
        """(B, H, L, E) -> (B, H, L, E)."""
        return x

    def bias(self, queries: Tensor, keys: int) -> Tensor | None:
        """Return what is added to the scores, broadcast to (B, H, Q, K), or None."""
        return None

    def pair_cost(self) -> int:
        """Return the operations of matrix products for each pair of a query and a key."""
        return 0

    def query_cost(self) -> int:
        """Return the operations of matrix products for each query."""
        return 0


def build_score_positions(config: ModelConfig, causal: bool) -> list[ScorePositions]:
    """Build the positions inside self-attention of one stack, one for each layer."""
    layers = config.decoder_layers if causal else config.encoder_layers
    return [ScorePositions()] * layers
