"""Attention as a still picture in the manner of the paper's Figures 3 to 5: a colour a head, a line a weight.

The tokens that look stand below, those they look at above. The stronger the line, the larger the weight.
"""

import unicodedata
from collections.abc import Sequence

from markupsafe import escape

from experiments.reporting.figures.chart_parts import INK, STRONG
from experiments.reporting.page.attention_pages import COLOURS, Sentence

STEP, ROOM, MARGIN = 24, 190, 14  # pixels: from token to token, between the rows, around everything
LEGEND = 66  # pixels for the name of a head
SIZE = 14  # of the letters
LETTER = 0.58  # width of a letter, in its size; wide characters take twice that
FAINTEST = 0.01  # weights below this draw no line
FONT = "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


def figure(sentence: Sentence, stack: str, layer: int, heads: Sequence[int], rows: Sequence[int] | None = None) -> str:
    """Return an SVG of some heads of one layer, all counted from 0; `rows`: only what these tokens look at.

    The layer has attention and the heads exist. With `rows`, bars above show each head's weights one by one.
    """
    lower, upper = sentence.tokens(stack)
    weights = sentence.weights[stack][layer]
    assert weights is not None
    above, below = (MARGIN + max(map(_length, tokens)) for tokens in (upper, lower))
    bars = 6 * len(heads) + 4 if rows is not None else 0
    top = above + bars + 6
    bottom = top + ROOM
    width = 2 * MARGIN + max(STEP * max(len(upper), len(lower)), LEGEND * len(heads))
    x_of = [
        [width / 2 + STEP * (place - (len(tokens) - 1) / 2) for place in range(len(tokens))]
        for tokens in (upper, lower)
    ]
    looking = range(len(lower)) if rows is None else rows
    drawn = []
    for order, head in enumerate(heads):
        for row in looking:
            for column, weight in enumerate(weights[head, row].abs().clamp(max=1).tolist()):
                if weight < FAINTEST:
                    continue
                colour = f'"{COLOURS[head % len(COLOURS)]}"'
                ends = f'x1="{x_of[1][row]:.1f}" y1="{bottom}" x2="{x_of[0][column]:.1f}" y2="{top}"'
                drawn.append(f'<line {ends} stroke={colour} stroke-width="2" stroke-opacity="{weight:.3f}"/>')
                if bars:
                    at = f'x="{x_of[0][column] - 8:.1f}" y="{top - 6 - 6 * (order + 1)}" width="16" height="5"'
                    drawn.append(f'<rect {at} fill={colour} fill-opacity="{weight / len(looking):.3f}"/>')
    drawn += [_token(token, x, top - bars - 6, "start", False) for token, x in zip(upper, x_of[0], strict=True)]
    for place, (token, x) in enumerate(zip(lower, x_of[1], strict=True)):
        drawn.append(_token(token, x, bottom + 6, "end", rows is not None and place in rows))
    drawn += _legend(heads, (width - LEGEND * len(heads)) / 2, bottom + 6 + below)
    height = bottom + below + 30
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{FONT}">\n' + "\n".join(drawn) + "\n</svg>\n"


def png(picture: str) -> bytes:
    """Return an SVG as a PNG on white, twice as large."""
    import vl_convert

    opening, rest = picture.split("\n", 1)
    white = '<rect width="100%" height="100%" fill="#ffffff"/>'
    found: bytes = vl_convert.svg_to_png(f"{opening}\n{white}\n{rest}", scale=2)
    return found


def places(tokens: Sequence[str], word: str) -> list[int] | None:
    """Return the tokens that spell a word where it first stands whole, or None; "</s>" is a word too."""
    for start in range(len(tokens)):
        spelt = ""
        for end in range(start, len(tokens)):
            spelt += tokens[end].removeprefix("▁") if end == start else tokens[end]
            if spelt == word:
                return list(range(start, end + 1))
            if not word.startswith(spelt):
                break
    return None


def _token(token: str, x: float, y: float, anchor: str, strong: bool) -> str:
    """Write a token upwards; where nothing in it can be seen, its code points."""
    weight = "bold" if strong else "normal"
    where = f'transform="translate({x + SIZE * 0.35:.1f} {y}) rotate(-90)" text-anchor="{anchor}"'
    return f'<text {where} font-size="{SIZE}" font-weight="{weight}" fill="{STRONG}">{escape(_visible(token))}</text>'


def _legend(heads: Sequence[int], x: float, y: float) -> list[str]:
    """Name the colour of each head."""
    drawn = []
    for order, head in enumerate(heads):
        left = x + LEGEND * order
        square = f'x="{left:.1f}" y="{y}" width="11" height="11" rx="2"'
        drawn.append(f'<rect {square} fill="{COLOURS[head % len(COLOURS)]}"/>')
        drawn.append(f'<text x="{left + 16:.1f}" y="{y + 10}" font-size="12" fill="{INK}">head {head + 1}</text>')
    return drawn


def _visible(token: str) -> str:
    """Return the token without its blank in front, or the code points of one that shows nothing or that XML forbids."""
    token = token.removeprefix("▁") or token
    if all(unicodedata.category(character)[0] in "MCZ" for character in token):
        return " ".join(f"U+{ord(character):04X}" for character in token)
    return "".join("\ufffd" if unicodedata.category(character) in ("Cc", "Cs") else character for character in token)


def _length(token: str) -> int:
    letters = sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in _visible(token))
    return round(SIZE * LETTER * letters) + 4
