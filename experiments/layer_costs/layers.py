"""The kinds of layer that are measured, built from the project's own components, each with its row of Table 1."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from experiments.reporting.paper import TABLE1, LayerCost
from lit_transformer.config import AttentionConfig, Mask, Mixer, MixerConfig, ModelConfig, PositionConfig, Positions

if TYPE_CHECKING:
    from lit_transformer.components.token_mixer import TokenMixer

SELF_ATTENTION, RECURRENT, CONVOLUTIONAL, RESTRICTED = TABLE1


@dataclass(frozen=True)
class LayerKind:
    """A row: the paper's claim with its exponents of n and d, and how the layer is built here.

    one_way: built as the decoder's, so that a recurrent layer reads in one direction. left_out: the linear layers that
    the paper's count of operations leaves out; what remains is called the mixing. fused: by torch's one call, on a CPU
    too. path_of: the row that has the same path.
    """

    key: str
    title: str
    paper: LayerCost
    n: int
    d: int
    mixer: Mixer
    left_out: tuple[str, ...]
    one_way: bool = False
    attention: dict[str, Any] = field(default_factory=dict)
    fused: bool = False
    path_of: str = ""


STEPS = {"mask": Mask.minus_1e9}
"""A mask that no fused kernel has, so that scores and weights are tensors of their own on every device."""
PROJECTIONS = ("in_proj", "out_proj")
LAYERS = (
    LayerKind("self_attention", "self-attention", SELF_ATTENTION, 2, 1, Mixer.attention, PROJECTIONS, attention=STEPS),
    LayerKind(
        "fused_attention",
        "self-attention, fused kernel",
        SELF_ATTENTION,
        2,
        1,
        Mixer.attention,
        PROJECTIONS,
        fused=True,
        path_of="self_attention",
    ),
    LayerKind("lstm", "recurrent (LSTM)", RECURRENT, 1, 2, Mixer.lstm, ("out_proj",), one_way=True),
    LayerKind("convolution", "convolution", CONVOLUTIONAL, 1, 2, Mixer.gated_convolution, ()),
    LayerKind("dilated", "convolution, dilated", CONVOLUTIONAL, 1, 2, Mixer.dilated_convolution, ("out_proj",)),
    LayerKind(
        "restricted",
        "self-attention, restricted",
        RESTRICTED,
        1,
        1,
        Mixer.local_attention,
        PROJECTIONS,
        attention=STEPS,
    ),
)
BY_KEY = {kind.key: kind for kind in LAYERS}


def build(kind: LayerKind, width: int, heads: int, kernel: int, window: int, layers: int = 1) -> "list[TokenMixer]":
    """Build the mixers of a stack of `layers`, bottom first, random as their constructors make them."""
    from lit_transformer.components.attention import MultiHeadAttention
    from lit_transformer.components.kernels import FusedKernel
    from lit_transformer.components.mixers import build_mixers

    mixer = MixerConfig(kind.mixer, window=window, kernel=kernel, dilations=max(layers, 1))
    config = ModelConfig(
        d_model=width,
        encoder_layers=layers,
        decoder_layers=layers,
        attention=AttentionConfig(heads=heads, d_k=width // heads, d_v=width // heads, **kind.attention),
        encoder_mixer=mixer,
        decoder_mixer=MixerConfig(kind.mixer, window=window) if kind.one_way else MixerConfig(),
        positions=PositionConfig(Positions.none),
    )
    parts = build_mixers(config, causal=kind.one_way)
    for part in parts:
        if kind.fused and isinstance(part, MultiHeadAttention) and isinstance(part.kernel, FusedKernel):
            part.kernel.fuse_on_cpu = True
    return parts


def left_out_operations(kind: LayerKind, part: "TokenMixer") -> int:
    """Return the operations a token, forward and backward, of the linear layers that the paper leaves out."""
    from lit_transformer.components.cost import linear_cost

    return 3 * sum(linear_cost(part.get_submodule(name)) for name in kind.left_out)
