"""A network's tensors as Marian's: what differs by numbers alone, folded into the matrices; see `marian`."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.attention import Bilinear, MultiHeadAttention
from lit_transformer.components.kernels import PerHeadFactor, score_scale
from lit_transformer.components.residual import AddScaled, ReZero
from lit_transformer.components.sublayer import Sublayer, deep_norm
from lit_transformer.config import AttentionConfig, Placement, Positions
from lit_transformer.errors import UserError
from lit_transformer.transformer import TokenEmbedding, Transformer

EPS = 1e-5
"""Of every layer norm of Marian, which has no setting for it."""
PLACES = 1024
"""Rows of the tables of positions, where the model itself has no limit."""


class MarianTensors:
    """Marian's tensors, in float64 until they are finished. An affine map is (out, in + 1), its last column the bias.

    `heads` is Marian's number of heads in each stack. After construction `shared` says that both stacks have one
    embedding, `tied` that the decoder's is the softmax matrix, and `places` how long the tables of positions are.
    """

    def __init__(self, network: Transformer, heads: dict[str, int]) -> None:
        config = network.config
        self.network, self.config = network, config
        self.tensors: dict[str, Tensor] = {}
        self.seen: set[int] = set()
        self.order = torch.arange(config.d_model)
        if config.positions.kind is Positions.sinusoidal:
            self.order = torch.cat([self.order[0::2], self.order[1::2]])
        self.heads = heads
        deep = config.norm.placement is Placement.deep_norm
        self.joint = math.sqrt(EPS / config.norm.eps)
        self.stream = {  # Marian's vectors between sub-layers are ours times these
            stack: self.joint * (deep_norm(config, causal).alpha if deep else 1.0)
            for stack, causal in (("encoder", False), ("decoder", True))
        }
        src, tgt = network.src_embedding.vectors, network.tgt_embedding.vectors
        self.shared = src is tgt and self.stream["encoder"] == self.stream["decoder"]
        self.tied = tgt is network.softmax
        self._matrices()
        self._stack("encoder", network.src_embedding)
        self._stack("decoder", network.tgt_embedding)
        self.places = len(self.tensors["model.decoder.embed_positions.weight"])

    def finished(self) -> dict[str, Tensor]:
        """Return the tensors in float32; raises where a parameter of the network went into none of them."""
        forgotten = [name for name, parameter in self.network.named_parameters() if id(parameter) not in self.seen]
        if forgotten:
            raise UserError(f"Marian has no place for {', '.join(forgotten)}")
        return {name: tensor.float().contiguous() for name, tensor in self.tensors.items()}

    def _read(self, parameter: Tensor) -> Tensor:
        self.seen.add(id(parameter))
        return parameter.detach().cpu().double()

    def _matrices(self) -> None:
        network, encoder, decoder = self.network, self.stream["encoder"], self.stream["decoder"]
        found = {"model.decoder.embed_tokens": (network.tgt_embedding.vectors, decoder)}
        if self.shared:
            found = {"model.shared": (network.src_embedding.vectors, encoder)}
        else:
            found["model.encoder.embed_tokens"] = (network.src_embedding.vectors, encoder)
        if not self.tied:
            found["lm_head"] = (network.softmax, decoder)  # what it reads is divided by the same, see `_stack`
        for name, (matrix, factor) in found.items():
            self.tensors[f"{name}.weight"] = self._read(matrix.weight)[:, self.order] * factor
        self.tensors["final_logits_bias"] = torch.zeros(1, network.softmax.num_embeddings)

    def _stack(self, stack: str, embedding: TokenEmbedding) -> None:
        """Translate the positions and the layers; the decoder's last norm undoes the factor of the softmax matrix."""
        self.tensors[f"model.{stack}.embed_positions.weight"] = self._positions(embedding) * self.stream[stack]
        layers = getattr(self.network, stack).layers
        for number, layer in enumerate(layers):
            name, parts = f"model.{stack}.layers.{number}", layer.sublayers
            said_last = stack == "decoder" and number == len(layers) - 1
            own, cross = self.config.attention_at[stack == "decoder"], self.config.attention_at.cross
            self._attention(f"{name}.self_attn", parts["mixer"], own, stack, stack)
            self._norm(f"{name}.self_attn_layer_norm", parts["mixer"], self.stream[stack])
            if stack == "decoder":
                self._attention(f"{name}.encoder_attn", parts["cross"], cross, stack, "encoder")
                self._norm(f"{name}.encoder_attn_layer_norm", parts["cross"], self.stream[stack])
            network = parts["feed_forward"]
            self._store(f"{name}.fc1", self._asking(network.inner.inner.widen, stack))
            self._store(f"{name}.fc2", self._saying(network.inner.inner.narrow, network))
            factor = 1 / self.stream[stack] if said_last else self.stream[stack]
            self._norm(f"{name}.final_layer_norm", network, factor)

    def _positions(self, embedding: TokenEmbedding) -> Tensor:
        """Return what is added to the embedding of each place: (places, D)."""
        for parameter in embedding.positions.parameters():
            self._read(parameter)
        places = embedding.positions.limit or PLACES
        layout = Layout.from_lengths(torch.tensor([places], device=embedding.vectors.weight.device))
        nothing = torch.zeros(places, self.config.d_model, device=embedding.vectors.weight.device)
        with torch.no_grad():
            table: Tensor = embedding.positions(nothing, layout, 0)
        return table.cpu().double()[:, self.order]

    def _norm(self, name: str, sublayer: Sublayer, factor: float) -> None:
        norm = sublayer.norm_after.inner
        for part in ("weight", "bias"):
            self.tensors[f"{name}.{part}"] = self._read(getattr(norm, part))[self.order] * factor

    def _asking(self, linear: nn.Linear, stack: str) -> Tensor:
        """Return a map that reads the vectors of a stack: (out, D + 1)."""
        weight = self._read(linear.weight)[:, self.order] / self.stream[stack]
        bias = weight.new_zeros(len(weight)) if linear.bias is None else self._read(linear.bias)
        return torch.cat([weight, bias[:, None]], dim=1)

    def _saying(self, linear: nn.Linear, sublayer: Sublayer) -> Tensor:
        """Return a map whose output joins the vectors of a stack: (D, in + 1)."""
        weight = self._read(linear.weight)
        bias = weight.new_zeros(len(weight)) if linear.bias is None else self._read(linear.bias)
        factor: float | Tensor = self.joint
        if isinstance(sublayer.residual, AddScaled):
            factor = factor * sublayer.residual.alpha
        elif isinstance(sublayer.residual, ReZero):
            factor = factor * self._read(sublayer.residual.gain)
        return torch.cat([weight, bias[:, None]], dim=1)[self.order] * factor

    def _attention(self, name: str, sublayer: Sublayer, config: AttentionConfig, stack: str, heard: str) -> None:
        """Translate attention of one stack to the vectors of another, or to its own."""
        part, heads = sublayer.inner, self.heads[stack]
        assert isinstance(part, MultiHeadAttention)
        width = self.config.d_model // heads

        def by_head(linear: nn.Linear, source: str) -> Tensor:
            maps = self._asking(linear, source).unflatten(0, (-1, config.d_v if linear is part.value else config.d_k))
            return maps.repeat_interleave(config.heads // len(maps), dim=0)  # (H, E, D + 1)

        def filled(maps: Tensor) -> Tensor:
            return F.pad(maps, (0, 0, 0, width - maps.shape[1], 0, heads - config.heads)).flatten(0, 1)  # (D, D + 1)

        queries = by_head(part.query, stack) * (score_scale(config) * math.sqrt(width))  # Marian divides by the root
        for step in part.query_heads:
            assert isinstance(step, Bilinear)
            queries = torch.einsum("hef,hed->hfd", self._read(step.weight), queries)
        if isinstance(part.kernel.temper, PerHeadFactor):
            queries = queries * self._read(part.kernel.temper.factor)
        said = self._saying(part.output, sublayer)  # (D, H*E + 1)
        weights = filled(said[:, :-1].T.unflatten(0, (config.heads, -1))).T  # (D, D)
        self._store(f"{name}.q_proj", filled(queries))
        self._store(f"{name}.k_proj", filled(by_head(part.key, heard)))
        self._store(f"{name}.v_proj", filled(by_head(part.value, heard)))
        self._store(f"{name}.out_proj", torch.cat([weights, said[:, -1:]], dim=1))

    def _store(self, name: str, affine: Tensor) -> None:
        self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"] = affine[:, :-1], affine[:, -1]
