"""A network's tensors as Marian's, constant factors folded into the matrices; see `marian`."""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.attention import Bilinear, MultiHeadAttention
from lit_transformer.components.feed_forward import PositionWise
from lit_transformer.components.kernels import PerHeadFactor, score_scale
from lit_transformer.components.residual import AddScaled, ReZero
from lit_transformer.components.sublayer import PostNorm, deep_norm_scales
from lit_transformer.config import AttentionConfig, Placement, Positions
from lit_transformer.errors import UserError
from lit_transformer.transformer import TokenEmbedding, Transformer

EPS = 1e-5
"""Of all layer norms of Marian, which has no setting for it."""
POSITIONS = 1024
"""Rows of the position tables, where the model itself has no limit."""


class MarianTensors:
    """Marian's tensors, in float64 until `converted`. An affine map is (out, in + 1), its last column the bias.

    `heads` is Marian's number of heads in each stack; `fold_eps` makes the network's eps Marian's. After construction
    `shared`: both stacks have one embedding; `tied`: the decoder's is the output embedding; `positions`: the number of
    rows of the position tables.
    """

    def __init__(self, network: Transformer, heads: dict[str, int], fold_eps: bool = True) -> None:
        config = network.config
        self.network, self.config = network, config
        self.tensors: dict[str, Tensor] = {}
        self.used: set[int] = set()
        self.order = torch.arange(config.d_model)
        if config.positions.kind is Positions.sinusoidal:
            self.order = torch.cat([self.order[0::2], self.order[1::2]])
        self.heads = heads
        deep = config.norm.placement is Placement.deep_norm
        self.branch_factor = math.sqrt(EPS / config.norm.eps) if fold_eps else 1.0
        self.stream = {  # the factor on the residual stream
            stack: self.branch_factor * (deep_norm_scales(config, causal).alpha if deep else 1.0)
            for stack, causal in (("encoder", False), ("decoder", True))
        }
        src, tgt = network.src_embedding.vectors, network.tgt_embedding.vectors
        self.shared = src is tgt and self.stream["encoder"] == self.stream["decoder"]
        self.tied = tgt is network.output_embedding
        self._embeddings()
        self._stack("encoder", network.src_embedding)
        self._stack("decoder", network.tgt_embedding)
        self.positions = len(self.tensors["model.decoder.embed_positions.weight"])

    def converted(self) -> dict[str, Tensor]:
        """Return the tensors in float32; raises `UserError` where a parameter of the network was not used."""
        unused = [name for name, parameter in self.network.named_parameters() if id(parameter) not in self.used]
        if unused:
            raise UserError(f"Marian has no place for {', '.join(unused)}")
        return {name: tensor.float().contiguous() for name, tensor in self.tensors.items()}

    def _use(self, parameter: Tensor) -> Tensor:
        self.used.add(id(parameter))
        return parameter.detach().cpu().double()

    def _embeddings(self) -> None:
        network, encoder, decoder = self.network, self.stream["encoder"], self.stream["decoder"]
        matrices = {"model.decoder.embed_tokens": (network.tgt_embedding.vectors, decoder)}
        if self.shared:
            matrices = {"model.shared": (network.src_embedding.vectors, encoder)}
        else:
            matrices["model.encoder.embed_tokens"] = (network.src_embedding.vectors, encoder)
        if not self.tied:
            matrices["lm_head"] = (network.output_embedding, decoder)  # the last norm divides by the same
        for name, (matrix, factor) in matrices.items():
            self.tensors[f"{name}.weight"] = self._use(matrix.weight)[:, self.order] * factor
        self.tensors["final_logits_bias"] = torch.zeros(1, network.output_embedding.num_embeddings)

    def _stack(self, stack: str, embedding: TokenEmbedding) -> None:
        """Convert positions and layers; the decoder's last norm undoes the factor on the output embedding."""
        self.tensors[f"model.{stack}.embed_positions.weight"] = self._positions(embedding) * self.stream[stack]
        layers = getattr(self.network, stack).layers
        for number, layer in enumerate(layers):
            name, sublayers = f"model.{stack}.layers.{number}", layer.sublayers
            last = stack == "decoder" and number == len(layers) - 1
            attention, cross = self.config.attention_at[stack == "decoder"], self.config.attention_at.cross
            self._attention(f"{name}.self_attn", sublayers["mixer"], attention, stack, stack)
            self._norm(f"{name}.self_attn_layer_norm", sublayers["mixer"], self.stream[stack])
            if stack == "decoder":
                self._attention(f"{name}.encoder_attn", sublayers["cross"], cross, stack, "encoder")
                self._norm(f"{name}.encoder_attn_layer_norm", sublayers["cross"], self.stream[stack])
            sublayer = sublayers["feed_forward"]
            network = cast(PositionWise, sublayer.inner)
            self._store(f"{name}.fc1", self._input_map(network.fc1, stack))
            self._store(f"{name}.fc2", self._output_map(network.fc2, sublayer))
            self._norm(f"{name}.final_layer_norm", sublayer, 1 / self.stream[stack] if last else self.stream[stack])

    def _positions(self, embedding: TokenEmbedding) -> Tensor:
        """Return what is added to the embedding at each position: (positions, D)."""
        for parameter in embedding.positions.parameters():
            self._use(parameter)
        length = embedding.positions.max_length or POSITIONS
        layout = Layout.from_lengths(torch.tensor([length], device=embedding.vectors.weight.device))
        zeros = torch.zeros(length, self.config.d_model, device=embedding.vectors.weight.device)
        with torch.no_grad():
            table: Tensor = embedding.positions(zeros, layout, 0)
        return table.cpu().double()[:, self.order]

    def _norm(self, name: str, sublayer: PostNorm, factor: float) -> None:
        for part in ("weight", "bias"):
            self.tensors[f"{name}.{part}"] = self._use(getattr(sublayer.norm, part))[self.order] * factor

    def _input_map(self, linear: nn.Linear, stack: str) -> Tensor:
        """Return a map from a stack's residual stream: (out, D + 1)."""
        weight = self._use(linear.weight)[:, self.order] / self.stream[stack]
        bias = weight.new_zeros(len(weight)) if linear.bias is None else self._use(linear.bias)
        return torch.cat([weight, bias[:, None]], dim=1)

    def _output_map(self, linear: nn.Linear, sublayer: PostNorm) -> Tensor:
        """Return a map into the residual stream: (D, in + 1)."""
        weight = self._use(linear.weight)
        bias = weight.new_zeros(len(weight)) if linear.bias is None else self._use(linear.bias)
        factor: float | Tensor = self.branch_factor
        if isinstance(sublayer.residual, AddScaled):
            factor = factor * sublayer.residual.alpha
        elif isinstance(sublayer.residual, ReZero):
            factor = factor * self._use(sublayer.residual.gain)
        return torch.cat([weight, bias[:, None]], dim=1)[self.order] * factor

    def _attention(self, name: str, sublayer: PostNorm, config: AttentionConfig, stack: str, keys_from: str) -> None:
        """Convert attention of one stack to its own stream or to another's, `keys_from`."""
        attention, heads = sublayer.inner, self.heads[stack]
        assert isinstance(attention, MultiHeadAttention)
        width = self.config.d_model // heads

        def by_head(linear: nn.Linear, source: str, head_width: int) -> Tensor:
            maps = self._input_map(linear, source).unflatten(0, (-1, head_width))
            return maps.repeat_interleave(config.heads // len(maps), dim=0)  # (H, E, D + 1)

        def pad(maps: Tensor) -> Tensor:
            return F.pad(maps, (0, 0, 0, width - maps.shape[1], 0, heads - config.heads)).flatten(0, 1)  # (D, D + 1)

        in_proj, scale = attention.in_proj, score_scale(config) * math.sqrt(width)  # Marian divides by the root
        queries = by_head(in_proj.query, stack, config.d_k) * scale
        for step in attention.query_heads:
            assert isinstance(step, Bilinear)
            queries = torch.einsum("hef,hed->hfd", self._use(step.weight), queries)
        if isinstance(attention.kernel.learned_scale, PerHeadFactor):
            queries = queries * self._use(attention.kernel.learned_scale.factor)
        output = self._output_map(attention.out_proj, sublayer)  # (D, H*E + 1)
        weights = pad(output[:, :-1].T.unflatten(0, (config.heads, -1))).T  # (D, D)
        self._store(f"{name}.q_proj", pad(queries))
        self._store(f"{name}.k_proj", pad(by_head(in_proj.key, keys_from, config.d_k)))
        self._store(f"{name}.v_proj", pad(by_head(in_proj.value, keys_from, config.d_v)))
        self._store(f"{name}.out_proj", torch.cat([weights, output[:, -1:]], dim=1))

    def _store(self, name: str, affine: Tensor) -> None:
        self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"] = affine[:, :-1], affine[:, -1]
