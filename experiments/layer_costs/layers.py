"""The kinds of layer that are measured, each with its row of Table 1."""

from dataclasses import dataclass, field
from typing import Any

from experiments.reporting.paper import TABLE1, LayerCost
from lit_transformer.config import Mask, Mixer

SELF_ATTENTION, RECURRENT, CONVOLUTIONAL, RESTRICTED = TABLE1


@dataclass(frozen=True)
class LayerKind:
    """A row: the paper's claim with its exponents of n and d, and how the layer is built here.

    causal: built as in the decoder, so that a recurrent layer runs in one direction. left_out: the linear layers that
    the paper's complexity leaves out; the rest is called the mixing. fused: with torch's fused kernel, on a CPU too.
    path_of: the row that has the same path.
    """

    key: str
    title: str
    paper: LayerCost
    n: int
    d: int
    mixer: Mixer
    left_out: tuple[str, ...]
    causal: bool = False
    attention: dict[str, Any] = field(default_factory=dict)
    fused: bool = False
    path_of: str = ""


UNFUSED = {"mask": Mask.minus_1e9}
"""A mask that no fused kernel supports, so that scores and weights are materialised on every device."""
PROJECTIONS = ("in_proj", "out_proj")
LAYERS = (
    LayerKind(
        "self_attention", "self-attention", SELF_ATTENTION, 2, 1, Mixer.attention, PROJECTIONS, attention=UNFUSED
    ),
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
    LayerKind("lstm", "recurrent (LSTM)", RECURRENT, 1, 2, Mixer.lstm, ("out_proj",), causal=True),
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
        attention=UNFUSED,
    ),
)
BY_KEY = {kind.key: kind for kind in LAYERS}
