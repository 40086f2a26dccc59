"""A model's attention over one sentence pair, for pages and pictures."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from data_modules.tokenizer import Tokenizer
    from lit_transformer import Transformer

STACKS = ("encoder", "decoder", "cross")
MAX_TOKENS = 100
"""Most tokens on either side of a sentence that is shown: the weights grow with the square."""
HEAD_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#b8860b", "#cc6677", "#44aa99", "#7a7a7a")
"""The colour of each head, the report's inks among them; more than eight heads begin again."""


@dataclass(frozen=True, eq=False)
class SentenceAttention:
    """Tokens of a sentence pair as a reader sees them, and the attention weights of every layer and head."""

    source: list[str]
    """Source tokens, </s> last."""
    decoder_input: list[str]
    """Target tokens shifted right, <s> first."""
    decoder_output: list[str]
    """Target tokens at the same positions, </s> last."""
    weights: "dict[str, list[Tensor | None]]"
    """For each of STACKS, layer by layer: (H, queries, keys), or None where the layer has no attention."""
    other_mixers: dict[str, str]
    """For a stack without attention: the kind of its mixer, such as lstm."""

    def tokens(self, stack: str) -> tuple[list[str], list[str]]:
        """Return the tokens of the queries (rows) and of the keys (columns)."""
        match stack:
            case "encoder":
                return self.source, self.source
            case "decoder":
                return self.decoder_output, self.decoder_input
            case _:
                return self.decoder_output, self.source


def sentence_attention(
    network: "Transformer", tokenizer: "Tokenizer", src: list[int], tgt: list[int]
) -> SentenceAttention | None:
    """Run a network on a pair of token ids without BOS and EOS; None where a side has more than MAX_TOKENS."""
    from lit_transformer.attention_maps import attention_maps

    if not fits(src, tgt):
        return None
    maps = attention_maps(network, src, tgt)
    source, target = tokenizer.pieces(src), tokenizer.pieces(tgt)
    weights = {name: getattr(maps, name) for name in STACKS}
    kinds = {name: getattr(network.config, f"{name}_mixer").kind.value for name in STACKS}
    others = {name: kind for name, kind in kinds.items() if all(layer is None for layer in weights[name])}
    return SentenceAttention([*source, "</s>"], ["<s>", *target], [*target, "</s>"], weights, others)


def fits(src: list[int], tgt: list[int]) -> bool:
    """Return whether both sides have at most MAX_TOKENS."""
    return max(len(src), len(tgt)) <= MAX_TOKENS


def word_places(tokens: list[str], word: str) -> list[int] | None:
    """Return the positions of the tokens that spell a word where it first occurs whole, or None; "</s>" is a word."""
    for start in range(len(tokens)):
        spelt = ""
        for end in range(start, len(tokens)):
            spelt += tokens[end].removeprefix("▁") if end == start else tokens[end]
            if spelt == word:
                return list(range(start, end + 1))
            if not word.startswith(spelt):
                break
    return None
