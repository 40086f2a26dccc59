"""K networks of one configuration as one: the members of a fused network compute together and share nothing.

Their packed tokens stand one after another, each member's in as many slots (`batch.FusedBatch`), and every parameter
has a first dimension K. So whatever has no parameters is the code of a single network, with more tokens and more
sentences; a linear layer is one batched product, an embedding one lookup. Each member equals its network but for
rounding, dropout included, and one whose numbers are no longer finite leaves the others alone.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_transformer.batch import FusedBatch, Layout, TranslationBatch
from lit_transformer.components.cpu_kernels import DropoutFunction, fused_dropout_bits
from lit_transformer.components.dropout import Dropout
from lit_transformer.components.kernels import Additive, PerHeadFactor, Talk
from lit_transformer.components.norms import InstanceNorm
from lit_transformer.components.relative import KeySpan, ScorePositions
from lit_transformer.components.residual import LayerDrop
from lit_transformer.components.token_mixer import TokenMixer
from lit_transformer.config import FeedForward, Mixer, ModelConfig, Norm, require
from lit_transformer.transformer import Transformer

SENTENCE_WISE = (PerHeadFactor, Additive, Talk, ScorePositions)
"""Modules with parameters whose inputs have sentences as their first dimension, not tokens."""


def require_fusable(config: ModelConfig) -> None:
    """Raise `UserError` for a model that cannot be fused."""
    fix = "and a fused training has no version of it: train the seeds one by one"
    for stack, mixer in (("encoder", config.encoder_mixer), ("decoder", config.decoder_mixer)):
        require(mixer.kind not in (Mixer.lstm, Mixer.gru), f"model.{stack}_mixer.kind is {mixer.kind}, {fix}")
    require(config.norm.kind is not Norm.batch, f"model.norm.kind is batch, {fix}")
    require(config.feed_forward.kind is not FeedForward.experts, f"model.feed_forward.kind is experts, {fix}")
    rates = {attention.dropout for attention in config.attention_at}
    require(rates == {0.0}, f"model.attention.dropout is {max(rates)}, and a fused training has none: set it to 0")


class FusedTransformer(nn.Module):
    """Several networks as one, with their values at first; `draws` has what their dropout draws from.

    Raises `UserError` for a model that cannot be fused, `ValueError` for networks that are not alike.
    """

    def __init__(self, networks: Sequence[Transformer]) -> None:
        super().__init__()
        first = networks[0]
        require_fusable(first.config)
        members = [dict(network.named_parameters()) for network in networks]
        shapes = [{name: value.shape for name, value in parameters.items()} for parameters in members]
        if any(network.config != first.config for network in networks) or any(other != shapes[0] for other in shapes):
            raise ValueError("the networks to fuse are not alike: their configurations or vocabularies differ")
        self.config = first.config
        self.size = len(networks)
        self.draws = Draws()
        stacked = {
            id(parameter): nn.Parameter(torch.stack([other[name].detach() for other in members]))
            for name, parameter in members[0].items()
        }
        self.by_name = {name: stacked[id(p)] for name, p in first.named_parameters(remove_duplicate=False)}
        leaves = list(_leaves(first))
        self.equal_sentences = any(isinstance(leaf, SENTENCE_WISE) for leaf, _ in leaves)
        fused: dict[int, Any] = {id(leaf): self._fused(leaf, name, stacked) for leaf, name in leaves}
        self.network = copy.deepcopy(first, fused)

    def batch(self, batches: Sequence[TranslationBatch]) -> FusedBatch:
        """Fuse one batch of each member."""
        return FusedBatch.from_batches(batches, self.equal_sentences)

    def hidden(self, batch: FusedBatch) -> Tensor:
        """Return the members' decoder outputs (K, n_t, D), of each as many as its batch has target tokens."""
        self.draws.tokens = {
            "source": [len(member.src) for member in batch.members],
            "target": [len(member.tgt_in) for member in batch.members],
        }
        memory = self.network.encode_packed(batch.src, batch.src_layout)
        return self.network.decode(batch.tgt_in, batch.tgt_layout, memory).unflatten(0, (self.size, -1))

    @property
    def output_weights(self) -> Tensor:
        """The members' output embeddings, (K, V, D)."""
        return self.by_name["output_embedding.weight"]

    def state_of(self, member: int) -> dict[str, Tensor]:
        """Return the state of one member, as `load_state_dict` of its network takes it."""
        return {name: parameter.detach()[member] for name, parameter in self.by_name.items()}

    def slices(self) -> list[list[nn.Parameter]]:
        """Return the parameters of each member by itself, in the order of `parameters()`; they share its memory."""
        return [[nn.Parameter(whole.detach()[member]) for whole in self.parameters()] for member in range(self.size)]

    def _fused(self, leaf: nn.Module, name: str, stacked: dict[int, nn.Parameter]) -> nn.Module:
        """Build what stands for one module of each member, given the first's."""
        side = "source" if name.startswith(("src_embedding.", "encoder.")) else "target"
        parameters = {key: stacked[id(parameter)] for key, parameter in leaf.named_parameters()}
        match leaf:
            case Dropout():
                return FusedDropout(leaf.level, self.draws, side)
            case LayerDrop():
                return FusedLayerDrop(leaf.rate, self.draws)
            case nn.Linear():
                return FusedLinear(**parameters)
            case nn.Embedding():
                return FusedEmbedding(**parameters)
            case nn.LayerNorm():
                return FusedLayerNorm(leaf.eps, **parameters)
            case InstanceNorm():
                return FusedInstanceNorm(leaf, **parameters)
            case ScorePositions():
                return FusedScorePositions(leaf, parameters)
            case _:
                return FusedModule(leaf, parameters)


def _leaves(module: nn.Module, name: str = "") -> Iterator[tuple[nn.Module, str]]:
    """Yield the modules that differ in a fused network, with their names: those with parameters, or randomness."""
    whole = isinstance(module, ScorePositions) and any(True for _ in module.parameters())
    if whole or isinstance(module, Dropout | LayerDrop) or any(True for _ in module.parameters(recurse=False)):
        yield module, name
        return
    for child_name, child in module.named_children():
        yield from _leaves(child, f"{name}.{child_name}" if name else child_name)


class Draws:
    """What the dropout of a pass draws from: a generator of each member, and its source and target tokens."""

    def __init__(self) -> None:
        self.generators: list[torch.Generator] = []
        self.tokens: dict[str, Sequence[int]] = {}

    def seed(self, seeds: Sequence[int], device: torch.device) -> None:
        """Seed the generators: each member then draws what its network draws after `torch.manual_seed`."""
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]


class FusedDropout(nn.Module):
    """`Dropout` with the masks that the members draw by themselves."""

    def __init__(self, level: int, draws: Draws, side: str) -> None:
        super().__init__()
        self.level, self.draws, self.side = level, draws, side

    def forward(self, x: Tensor) -> Tensor:
        """(K * n, ...) -> (K * n, ...)."""
        if not self.training or self.level == 0:
            return x
        tokens = self.draws.tokens[self.side]
        width = x.shape[1:].numel()
        slots = len(x) // len(tokens)
        bits = fused_dropout_bits(self.draws.generators, [count * width for count in tokens], slots * width)
        y: Tensor = DropoutFunction.apply(x, self.level, bits.reshape(x.shape))
        return y


class FusedLayerDrop(nn.Module):
    """`LayerDrop`, each member's sub-layer dropped by itself."""

    def __init__(self, rate: float, draws: Draws) -> None:
        super().__init__()
        self.rate, self.draws = rate, draws

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(K * n, D) twice -> (K * n, D)."""
        if not self.training or self.rate == 0:
            return x + y
        draws = [torch.rand((), device=y.device, generator=generator) for generator in self.draws.generators]
        keep = torch.stack(draws) >= self.rate  # (K,)
        return x + (_members(y, len(keep)) * (keep.to(y.dtype) / (1 - self.rate))[:, None, None]).view(y.shape)


class FusedLinear(nn.Module):
    """Linear layers: weight (K, out, in), bias (K, out) or none."""

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter | None = None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        """(K * n, ..., in) -> (K * n, ..., out)."""
        rows = x.reshape(len(self.weight), -1, x.shape[-1])
        weight = self.weight.transpose(1, 2)
        y = torch.bmm(rows, weight) if self.bias is None else torch.baddbmm(self.bias[:, None], rows, weight)
        return y.view(*x.shape[:-1], -1)


class FusedEmbedding(nn.Module):
    """Embeddings: weight (K, V, D)."""

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight
        self.num_embeddings = weight.shape[1]

    def forward(self, ids: Tensor) -> Tensor:
        """(K * n,) -> (K * n, D)."""
        starts = torch.arange(len(self.weight), device=ids.device) * self.num_embeddings
        rows = ids.view(len(self.weight), -1) + starts[:, None]
        return F.embedding(rows.flatten(), self.weight.flatten(0, 1))


class FusedLayerNorm(nn.Module):
    """Layer norms: weight and bias (K, D)."""

    def __init__(self, eps: float, weight: nn.Parameter, bias: nn.Parameter) -> None:
        super().__init__()
        self.eps, self.weight, self.bias = eps, weight, bias

    def forward(self, x: Tensor) -> Tensor:
        """(K * n, D) -> (K * n, D)."""
        return _affine(F.layer_norm(x, x.shape[-1:], eps=self.eps), self.weight, self.bias)


class FusedInstanceNorm(TokenMixer):
    """Instance norms: weight and bias (K, D)."""

    def __init__(self, norm: InstanceNorm, weight: nn.Parameter, bias: nn.Parameter) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias
        self.plain = copy.deepcopy(norm)  # without gain and bias
        nn.init.ones_(self.plain.weight.requires_grad_(False))
        nn.init.zeros_(self.plain.bias.requires_grad_(False))

    def forward(self, x: Tensor, layout: Layout, cache: Any = None) -> tuple[Tensor, Any]:
        """(K * n, D) -> (K * n, D)."""
        y, cache = self.plain(x, layout, cache)
        return _affine(y, self.weight, self.bias), cache


class FusedModule(nn.Module):
    """Any other modules of K members, as one by `torch.vmap`: parameters by name, with a first dimension K.

    Each takes and returns tensors whose first dimension is its tokens, or its sentences (`SENTENCE_WISE`); a result of
    fewer rows stands for all of them, repeated.
    """

    def __init__(self, module: nn.Module, parameters: dict[str, nn.Parameter], method: str = "forward") -> None:
        super().__init__()
        self.names = tuple(parameters)
        self.values = nn.ParameterList(parameters.values())
        self.call = _functional(module, method)

    def forward(self, *inputs: Tensor, **shared: Any) -> Tensor:
        """(K * n, ...) each -> (K * n, ...); `shared` is the same for all members."""
        members = len(self.values[0])
        parameters = dict(zip(self.names, self.values, strict=True))
        rows = [_members(x, members) for x in inputs]
        y: Tensor = torch.vmap(lambda state, *x: self.call(state, *x, **shared))(parameters, *rows)
        if y.shape[1] != rows[0].shape[1]:
            y = y.repeat(1, rows[0].shape[1] // y.shape[1], *[1] * (y.dim() - 2))
        return y.flatten(0, 1)


class FusedScorePositions(ScorePositions):
    """Positions inside attention that add a trained bias to the scores."""

    def __init__(self, positions: ScorePositions, parameters: dict[str, nn.Parameter]) -> None:
        super().__init__()
        self.bias = FusedModule(positions, parameters, "score_bias")

    def score_bias(self, queries: Tensor, span: KeySpan) -> Tensor:
        """Return the biases of K * b sentences, or of their blocks: (K * b, H, Q, K)."""
        bias: Tensor = self.bias(queries, span=span)
        return bias


class _Method(nn.Module):
    """A module whose forward is another's method: `functional_call` calls nothing else."""

    def __init__(self, module: nn.Module, method: str) -> None:
        super().__init__()
        self.module, self.method = module, method

    def forward(self, *inputs: Tensor, **shared: Any) -> Any:
        return getattr(self.module, self.method)(*inputs, **shared)


def _functional(module: nn.Module, method: str) -> Callable[..., Tensor]:
    """Return a module's method as a function of its parameters and inputs; it holds no value of the module itself."""
    skeleton = _Method(copy.deepcopy(module).to("meta"), method)

    def call(parameters: dict[str, Tensor], *inputs: Tensor, **shared: Any) -> Tensor:
        named = {f"module.{name}": value for name, value in parameters.items()}
        y: Tensor = torch.func.functional_call(skeleton, named, inputs, shared)
        return y

    return call


def _members(x: Tensor, members: int) -> Tensor:
    return x.unflatten(0, (members, -1))  # (K * n, ...) -> (K, n, ...)


def _affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return weight * x + bias for each member, in the type of x: (K * n, D), (K, D) twice -> (K * n, D)."""
    return torch.addcmul(bias[:, None], _members(x, len(weight)), weight[:, None]).view(x.shape).to(x.dtype)
