"""What a trained model attends to, as a page to explore.

A sentence pair is shown in three ways: the encoder over the source, the decoder over what it has said, and the decoder
over the source ("cross"). Layers and heads are counted from 1, the bottom layer first.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.reporting.page.templating import template, verbatim

if TYPE_CHECKING:
    from torch import Tensor

    from data_modules.tokenizer import Tokenizer
    from lit_transformer import Transformer

SENTENCES = 10
"""Most sentences of a page made from a text."""
OF_A_SPLIT = 3
"""Sentences of a page that an evaluation sends to W&B."""
LONGEST = 100
"""Most tokens on either side of a sentence that a page shows: its weights grow with the square."""
STACKS = ("encoder", "decoder", "cross")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#b8860b", "#cc6677", "#44aa99", "#7a7a7a")
"""The colour of each head, the report's inks among them; more than eight heads begin again."""
STEP = 1e-4
"""Weights are kept as 16-bit multiples of this: 0 to 1, and what heads that talk make of it, up to 3.2."""


@dataclass(frozen=True, eq=False)
class Sentence:
    """A sentence pair with its weights; tokens as a reader sees them."""

    source: list[str]
    """Source tokens, </s> last."""
    read: list[str]
    """What the decoder reads, <s> first."""
    said: list[str]
    """What it says at the same places, </s> last."""
    weights: "dict[str, list[Tensor | None]]"
    """Of each of STACKS, layer by layer: (H, rows, columns), or None where the layer has no attention."""
    missing: dict[str, str]
    """Of a stack whose layers have none: what stands in its place, such as lstm."""

    def tokens(self, stack: str) -> tuple[list[str], list[str]]:
        """Return the tokens that look (rows), and those looked at (columns)."""
        match stack:
            case "encoder":
                return self.source, self.source
            case "decoder":
                return self.said, self.read
            case _:
                return self.said, self.source


def sentence(network: "Transformer", tokenizer: "Tokenizer", src: list[int], tgt: list[int]) -> Sentence | None:
    """Look into a network with a pair of token ids, without BOS and EOS; None where a side has over LONGEST tokens."""
    from lit_transformer.attention_maps import attention_maps

    if not fits(src, tgt):
        return None
    maps = attention_maps(network, src, tgt)
    source, target = tokenizer.pieces(src), tokenizer.pieces(tgt)
    weights = {name: getattr(maps, name) for name in STACKS}
    kinds = {name: getattr(network.config, f"{name}_mixer").kind.value for name in STACKS}
    missing = {name: kind for name, kind in kinds.items() if all(layer is None for layer in weights[name])}
    return Sentence([*source, "</s>"], ["<s>", *target], [*target, "</s>"], weights, missing)


def fits(src: list[int], tgt: list[int]) -> bool:
    """Say whether a page shows such a pair."""
    return max(len(src), len(tgt)) <= LONGEST


def attention_page(title: str, sentences: Sequence[Sentence]) -> str:
    """Return one HTML file that needs no network: choose sentence, stack, layer and heads; point at a token."""
    from markupsafe import Markup

    return template("attention.html").render(
        title=title,
        number=len(sentences),
        longest=LONGEST,
        data=Markup(_embedded({"colours": COLOURS, "step": STEP, "sentences": [_plain(own) for own in sentences]})),
        style=verbatim("report.css", "attention.css"),
        script=verbatim("attention.js"),
    )


def page_of_split(
    title: str, network: "Transformer", tokenizer: "Tokenizer", sources: Sequence[str], said: Sequence[list[int]]
) -> str:
    """Return a page of the same few sentences of a split for every model, short to long, and what it said, in ids."""
    from experiments.reporting.samples import spread_by_length

    chosen = spread_by_length(sources, OF_A_SPLIT)
    pairs = [(tokenizer.encode(sources[place]), said[place]) for place in chosen]
    return attention_page(title, [own for src, tgt in pairs if (own := sentence(network, tokenizer, src, tgt))])


def _plain(own: Sentence) -> dict[str, Any]:
    stacks = {
        name: {
            "rows": own.tokens(name)[0],
            "columns": own.tokens(name)[1],
            "missing": own.missing.get(name, ""),
            "layers": [[] if layer is None else [_packed(head) for head in layer] for layer in own.weights[name]],
        }
        for name in STACKS
    }
    return {"text": "".join(own.source[:-1]).replace("▁", " ").strip(), "stacks": stacks}


def _packed(weights: "Tensor") -> str:
    """Return the weights of one head, row by row, as base64 of little-endian 16-bit numbers."""
    import numpy as np

    whole = np.clip(np.rint(weights.numpy() / STEP), -(2**15), 2**15 - 1)
    return base64.b64encode(whole.astype("<i2").tobytes()).decode()


def _embedded(content: Any) -> str:
    """Return JSON that no text in it can end early: an HTML parser reads a script up to "</script"."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
