"""Where the randomness of a training step comes from."""


def step_seed(seed: int, batch: int, rank: int = 0) -> int:
    """Return what the generators are seeded with before a batch, counted from 0 over the whole training."""
    return seed * 1_000_003 + batch * 1009 + rank
