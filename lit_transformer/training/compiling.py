"""torch.compile for training steps: one place, and a bound on how often it may compile."""

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from lit_transformer.transformer import Transformer

GRAPHS = 32
"""Most graphs of a network; one more is an error and no silent return to the slow path. Sizes are symbols: no batch of
another length needs a graph. What does: a side without padding, a sentence shorter than a CPU's vector, validation."""


def compile_network(network: "Transformer", backend: str = "inductor") -> None:
    """Compile encoder and decoder of a network, in place; its loss and its search stay as they are.

    What is computed is the same but for rounding, and so are the masks of dropout. Raises
    torch._dynamo.exc.FailOnRecompileLimitHit at the step that would need more than GRAPHS graphs.
    """
    torch._dynamo.config.recompile_limit = GRAPHS
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    network.hidden = torch.compile(network.hidden, dynamic=True, backend=backend)  # type: ignore[method-assign]
