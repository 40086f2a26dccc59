"""torch.compile for training: the forward pass of encoder and decoder, with a bound on the number of graphs."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lit_transformer.batch import TranslationBatch
from lit_transformer.errors import UserError
from lit_transformer.transformer import Transformer

GRAPHS = 32
"""Most graphs of a network; one more is an error rather than a silent fallback to the slow path. Sizes are symbolic, so
that no batch of another length needs a graph. What needs one: a side without padding, a sentence shorter than a CPU's
vector, validation."""
FIX = "train with trainer.compile=false"


class CompiledHidden:
    """`Transformer.hidden`, compiled: the `hidden` of an objective or a `LitTransformer`.

    Equal to the plain one but for rounding, dropout masks included; the loss and the search are not compiled. Raises
    `UserError` for a network that needs more than GRAPHS graphs, or where something is missing, such as a C++ compiler.
    """

    def __init__(self, backend: str | Callable[..., Any] = "inductor") -> None:
        from torch._dynamo import config  # imported late: it takes a second

        config.recompile_limit = GRAPHS
        config.fail_on_recompile_limit_hit = True
        self.compiled = torch.compile(Transformer.hidden, dynamic=True, backend=backend)

    def __call__(self, network: Transformer, batch: TranslationBatch) -> Tensor:
        from torch._dynamo import exc

        try:
            return self.compiled(network, batch)
        except exc.FailOnRecompileLimitHit:
            raise UserError(f"trainer.compile: this model needs more than {GRAPHS} graphs; {FIX}") from None
        except exc.BackendCompilerFailed as error:
            cause = error.inner_exception
            lines = [f"{type(cause).__name__}: {line}" for line in str(cause).splitlines()[:1]]
            raise UserError(f"trainer.compile: {''.join(lines) or type(cause).__name__}; {FIX}") from None
