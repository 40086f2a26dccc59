"""torch.compile for training steps: one place, and a bound on how often it may compile."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lit_transformer.errors import UserError

if TYPE_CHECKING:
    from lit_transformer.batch import TranslationBatch
    from lit_transformer.transformer import Transformer

GRAPHS = 32
"""Most graphs of a network; one more is an error and no silent return to the slow path. Sizes are symbols: no batch of
another length needs a graph. What does: a side without padding, a sentence shorter than a CPU's vector, validation."""
WITHOUT = "train with trainer.compile=false"


def compile_network(network: "Transformer", backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile encoder and decoder of a network, in place; its loss and its search stay as they are.

    What is computed is the same but for rounding, and so are the masks of dropout. The step that would need more than
    GRAPHS graphs, or something that is not there, such as a C++ compiler, raises UserError.
    """
    from torch._dynamo import exc

    torch._dynamo.config.recompile_limit = GRAPHS
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    compiled = torch.compile(network.hidden, dynamic=True, backend=backend)

    def hidden(batch: "TranslationBatch") -> Tensor:
        try:
            return compiled(batch)
        except exc.FailOnRecompileLimitHit:
            raise UserError(f"trainer.compile: this model needs more than {GRAPHS} graphs; {WITHOUT}") from None
        except exc.BackendCompilerFailed as error:
            found = error.inner_exception
            said = [f"{type(found).__name__}: {line}" for line in str(found).splitlines()[:1]]
            raise UserError(f"trainer.compile: {''.join(said) or type(found).__name__}; {WITHOUT}") from None

    network.hidden = hidden  # type: ignore[method-assign]
