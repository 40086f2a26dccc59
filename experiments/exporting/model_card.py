"""The formats of an export, and the README.md of each: how to load it, how its decoding differs, where it is from."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from lit_transformer.config import DecodeConfig


class Format(StrEnum):
    """A format of an exported folder, named after what reads it."""

    safetensors = "safetensors"
    marian = "marian"
    ctranslate2 = "ctranslate2"


SAFETENSORS = """
```python
from lit_transformer import load_exported
from tokenizers import Tokenizer

network = load_exported("FOLDER")
tokenizer = Tokenizer.from_file("FOLDER/tokenizer.json")
tokenizer.encode_special_tokens = True  # "<pad>" in a sentence is text
```

A source ends with id 2, a target begins with id 1: `network(src, tgt_in)` takes ids padded on the right with 0.
"""
MARIAN = """
```python
from transformers import AutoTokenizer, MarianMTModel

model, tokenizer = MarianMTModel.from_pretrained("FOLDER"), AutoTokenizer.from_pretrained("FOLDER")
batch = tokenizer(["..."], return_tensors="pt", padding=True)
print(tokenizer.batch_decode(model.generate(**batch), skip_special_tokens=True))
```

`save_pretrained` leaves the position tables out, and Marian's own formula brings the same ones back: the model may be
trained on and saved.
"""
CTRANSLATE2 = """
```python
import ctranslate2
from tokenizers import Tokenizer

translator = ctranslate2.Translator("FOLDER")
tokenizer = Tokenizer.from_file("FOLDER/tokenizer.json")
tokenizer.encode_special_tokens = True  # "<pad>" in a sentence is text
source = tokenizer.encode("...", add_special_tokens=False).tokens
found = translator.translate_batch([source], beam_size=BEAM, length_penalty=ALPHA, min_decoding_length=0)
print(tokenizer.decode([tokenizer.token_to_id(token) for token in found[0].hypotheses[0]]))
```

The model appends </s> to a source by itself and begins with <s>. For alpha 0 write length_penalty=1e-9: with 0 the
search stops by another rule. It may generate <pad> and <s>, though a trained model hardly ever does.
"""
PENALTY = """
Greedy translations, and those of a beam with alpha 0, are the cell's own. With another alpha they may differ: here the
log-probability is divided by length^alpha, in the cell by ((5 + length) / 6)^alpha. The cell decodes with beam BEAM and
alpha ALPHA, and at most EXTRA tokens more than the source has.
"""
CARDS = {
    Format.safetensors: SAFETENSORS,
    Format.marian: MARIAN + PENALTY,
    Format.ctranslate2: CTRANSLATE2 + PENALTY,
}


def model_card(to: Format, provenance: Mapping[str, Any], decode: DecodeConfig, comparison: str) -> str:
    """Return the text of an exported folder's README.md."""
    text = CARDS[to]
    for name, value in (
        ("BEAM", decode.beam),
        ("=ALPHA", f"={decode.alpha or 1e-9}"),
        ("ALPHA", decode.alpha),
        ("EXTRA", decode.extra_length),
    ):
        text = text.replace(name, str(value))
    title = f"# {provenance['variant']}, seed {provenance['seed']}, of the study {provenance['study']}\n"
    facts = "".join(f"| {name} | {value} |\n" for name, value in provenance.items())
    return f"{title}{text}\nWhen it was exported: {comparison}.\n\n| | |\n|---|---|\n{facts}"
