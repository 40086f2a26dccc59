"""An interactive page of a model's attention: choose sentence, stack, layer and heads; point at a token.

Each sentence pair has three views: encoder self-attention, decoder self-attention and cross-attention. Layers and heads
are counted from 1, the bottom layer first.
"""

import base64
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.reporting.attention import HEAD_COLOURS, MAX_TOKENS, STACKS, SentenceAttention, sentence_attention
from experiments.reporting.page.templating import template, verbatim
from experiments.reporting.samples import spread_by_length

if TYPE_CHECKING:
    from torch import Tensor

    from data_modules.tokenizer import Tokenizer
    from lit_transformer import Transformer

MAX_SENTENCES = 10
"""Most sentences of a page made from a text."""
SPLIT_SENTENCES = 3
"""Sentences of a page that an evaluation sends to W&B."""
STEP = 1e-4
"""Weights are stored as 16-bit multiples of this: from 0 to 1, with talking heads up to 3.2."""


def attention_page(title: str, sentences: Sequence[SentenceAttention]) -> str:
    """Return one HTML file that needs no network."""
    from markupsafe import Markup

    content = {"colours": HEAD_COLOURS, "step": STEP, "sentences": [_content(sentence) for sentence in sentences]}
    return template("attention.html").render(
        title=title,
        number=len(sentences),
        longest=MAX_TOKENS,
        data=Markup(_json_in_html(content)),
        style=verbatim("report.css", "attention.css"),
        script=verbatim("attention.js"),
    )


def page_of_split(
    title: str,
    network: "Transformer",
    tokenizer: "Tokenizer",
    sources: Sequence[str],
    translations: Sequence[list[int]],
) -> str:
    """Return a page of a few sentences of a split, short to long and the same for every model, with its translations.

    `translations` are token ids without BOS and EOS.
    """
    places = spread_by_length(sources, SPLIT_SENTENCES)
    shown = (
        sentence_attention(network, tokenizer, tokenizer.encode(sources[place]), translations[place])
        for place in places
    )
    return attention_page(title, [sentence for sentence in shown if sentence])


def _content(sentence: SentenceAttention) -> dict[str, Any]:
    stacks = {}
    for name in STACKS:
        rows, columns = sentence.tokens(name)
        stacks[name] = {
            "rows": rows,
            "columns": columns,
            "missing": sentence.other_mixers.get(name, ""),
            "layers": [[] if layer is None else [_packed(head) for head in layer] for layer in sentence.weights[name]],
        }
    return {"text": "".join(sentence.source[:-1]).replace("▁", " ").strip(), "stacks": stacks}


def _packed(weights: "Tensor") -> str:
    """Return the weights of one head, row by row, as base64 of little-endian 16-bit integers."""
    import numpy as np

    integers = np.clip(np.rint(weights.numpy() / STEP), -(2**15), 2**15 - 1)
    return base64.b64encode(integers.astype("<i2").tobytes()).decode()


def _json_in_html(content: Any) -> str:
    """Return JSON safe inside a script element, which an HTML parser would end at the first "</script"."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
