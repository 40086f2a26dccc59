"""The files of Hugging Face's Marian and its tokenizer."""

import json
from pathlib import Path

from data_modules.prepared import PreparedCorpus
from experiments.common.io import write_json
from lit_transformer.export.folder import save_tensors
from lit_transformer.export.marian import Marian
from lit_transformer.tokens import BOS, EOS, PAD, UNK


def save_marian(marian: Marian, folder: Path) -> None:
    """Write what `MarianMTModel.from_pretrained` reads, without the tokenizer."""
    save_tensors(marian.tensors, folder / "model.safetensors")
    write_json(folder / "config.json", marian.config)
    write_json(folder / "generation_config.json", marian.generation)


def save_tokenizer(corpus: PreparedCorpus, max_length: int, folder: Path) -> None:
    """Write the tokenizer for AutoTokenizer; it ends every sentence with EOS, as the encoder expects."""
    names = corpus.tokenizer.tokens
    content = json.loads((corpus.folder / "tokenizer.json").read_text(encoding="utf-8"))
    ending = {"SpecialToken": {"id": names[EOS], "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in ("A", "B"))
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [first, ending],
        "pair": [first, second, ending],
        "special_tokens": {names[EOS]: {"id": names[EOS], "ids": [EOS], "tokens": [names[EOS]]}},
    }
    write_json(folder / "tokenizer.json", content)
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "pad_token": names[PAD],
            "bos_token": names[BOS],
            "eos_token": names[EOS],
            "unk_token": names[UNK],
            "model_max_length": max_length,
            "model_input_names": ["input_ids", "attention_mask"],
            "clean_up_tokenization_spaces": False,
            "split_special_tokens": True,  # a sentence that happens to hold "<pad>" is text
        },
    )
