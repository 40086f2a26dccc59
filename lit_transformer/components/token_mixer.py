"""The protocol of everything that moves information between tokens: (x, layout, cache) -> (x, new cache).

Without a cache the tokens are the first of their sentences, so that a whole sentence is one step and decoding is many
steps of one token: the same forward serves both. The new cache is meaningful only where all sentences have the same
length (`layout.rectangular`), as in decoding; training discards it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.cache import Cache
from lit_transformer.components.cost import Cost, CostedModule, cost_of, linear_cost


class TokenMixer(CostedModule):
    """Base class of modules that see more than one token: attention, recurrence, instance norm, sub-layers."""

    def forward(self, x: Tensor, layout: Layout, cache: Any = None) -> tuple[Tensor, Any]:
        """(N, D) -> (N, D) and the new cache, None where nothing need be remembered."""
        raise NotImplementedError

    def init_cache(self, memory: Tensor, layout: Layout) -> Any:
        """Return the cache before the first token; None unless the module reads the encoder's output (N_s, D)."""
        return None

    def cost(self) -> Cost:
        """Return the cost of a forward pass: by default that of the linear layers."""
        return Cost(query=linear_cost(self))


def call_with_cache(module: nn.Module, x: Tensor, layout: Layout, cache: Cache | None) -> tuple[Tensor, Cache | None]:
    """Call a mixer with its layout and cache, and any other module on x alone: (N, D) -> (N, D) and the new cache."""
    if isinstance(module, TokenMixer):
        return cast(tuple[Tensor, Cache | None], module(x, layout, cache))
    return module(x), None


def init_cache_of(module: nn.Module, memory: Tensor, layout: Layout) -> Cache | None:
    """Return the cache of any module before the first token; see `TokenMixer.init_cache`."""
    return cast(Cache | None, module.init_cache(memory, layout)) if isinstance(module, TokenMixer) else None


@dataclass(frozen=True, eq=False)
class ChainCache:
    """The caches of the modules of a `Chain`, in their order."""

    caches: Sequence[Cache | None]

    def select(self, rows: Tensor, sentences: Tensor | None) -> Self:
        return type(self)([cache and cache.select(rows, sentences) for cache in self.caches])


class Chain(TokenMixer):
    """Modules one after another, each mixer among them with its own cache."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.links = nn.ModuleList(modules)

    def forward(self, x: Tensor, layout: Layout, cache: ChainCache | None = None) -> tuple[Tensor, ChainCache]:
        """(N, D) -> (N, D) and the new caches."""
        caches = [None] * len(self.links) if cache is None else cache.caches
        new = []
        for link, link_cache in zip(self.links, caches, strict=True):
            x, link_cache = call_with_cache(link, x, layout, link_cache)
            new.append(link_cache)
        return x, ChainCache(new)

    def init_cache(self, memory: Tensor, layout: Layout) -> ChainCache:
        return ChainCache([init_cache_of(link, memory, layout) for link in self.links])

    def cost(self) -> Cost:
        return sum(map(cost_of, self.links), Cost())
