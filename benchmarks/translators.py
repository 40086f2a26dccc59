"""Decoding systems with the weights of one network: token ids in, token ids out, in batches of one size."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.joeynmt_model import to_joeynmt, translator
from benchmarks.rounds import Ids, Translate
from experiments.exporting.marian import save_marian
from experiments.scoring.inference import translate_ids
from lit_transformer.config import DecodeConfig
from lit_transformer.errors import UserError
from lit_transformer.packing import pack_for_search

if TYPE_CHECKING:
    from lit_transformer import Transformer


def _batches(sources: Sequence[Ids], size: int) -> list[Sequence[Ids]]:
    return [sources[start : start + size] for start in range(0, len(sources), size)]


def ours(network: "Transformer", decode: DecodeConfig, size: int) -> Translate:
    """Return our search, in batches of `size` like the others."""
    unlimited = replace(decode, batch_tokens=10**9)  # `size` alone decides a batch

    def translate(sources: Sequence[Ids]) -> list[Ids]:
        packed = pack_for_search(network)  # once for all batches, as for the batches of a test set
        hypotheses = [best for batch in _batches(sources, size) for best in translate_ids([packed], batch, unlimited)]
        return [best[0].tokens for best in hypotheses]

    return translate


def hugging_face(
    network: "Transformer", decode: DecodeConfig, size: int, folder: Path, device: str
) -> dict[str, Translate]:
    """Return `generate` of a MarianMTModel with the network's weights; empty when transformers is not installed."""
    import torch

    try:
        from transformers import MarianMTModel, logging
    except ImportError as error:
        print(f"Hugging Face is left out: it needs the package {error.name}")
        return {}

    from lit_transformer.export.marian import to_marian
    from lit_transformer.tokens import BOS, EOS, PAD

    logging.set_verbosity_error()  # it warns about two length limits in every batch
    folder.mkdir()
    save_marian(to_marian(network, decode), folder)
    model = MarianMTModel.from_pretrained(folder).eval().to(device)

    def translate(sources: Sequence[Ids]) -> list[Ids]:
        translations = []
        for batch in _batches(sources, size):
            rows = [torch.tensor([*ids, EOS]) for ids in batch]
            ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD).to(device)
            max_length = max(map(len, batch)) + decode.extra_length
            with torch.inference_mode():
                generated = model.generate(ids, attention_mask=(ids != PAD).long(), max_new_tokens=max_length)
            translations += [[token for token in row if token not in (PAD, BOS, EOS)] for row in generated.tolist()]
        return translations

    return {"Hugging Face generate": translate}


def ctranslate2(
    network: "Transformer", decode: DecodeConfig, size: int, tokens: list[str], folder: Path, threads: int
) -> dict[str, Translate]:
    """Return CTranslate2's system; empty when it is not installed or does not support the model."""
    from experiments.exporting.ctranslate2_model import require_ctranslate2, save_ctranslate2
    from lit_transformer.export.marian import to_marian

    folder.mkdir()
    try:
        require_ctranslate2()
        save_ctranslate2(to_marian(network, decode), tokens, folder)
    except UserError as error:
        print(f"CTranslate2 is left out: {error}")
        return {}
    from ctranslate2 import Translator

    translator = Translator(str(folder), inter_threads=1, intra_threads=threads)
    ids = {token: number for number, token in enumerate(tokens)}

    def translate(sources: Sequence[Ids]) -> list[Ids]:
        translations = []
        for batch in _batches(sources, size):
            results = translator.translate_batch(
                [[tokens[number] for number in source] for source in batch],
                beam_size=decode.beam,
                length_penalty=1e-9,  # 0 changes its stopping criterion
                min_decoding_length=0,
                max_decoding_length=max(map(len, batch)) + decode.extra_length,
            )
            translations += [[ids[token] for token in result.hypotheses[0]] for result in results]
        return translations

    return {"CTranslate2 float32": translate}


def joeynmt(network: "Transformer", decode: DecodeConfig, size: int) -> dict[str, Translate]:
    """Return JoeyNMT's system; empty when it is not installed or does not support the model."""
    from lit_transformer.export.marian import to_marian

    try:
        search = translator(to_joeynmt(to_marian(network, decode)), decode.beam)
    except UserError as error:
        print(f"JoeyNMT is left out: {error}")
        return {}

    def translate(sources: Sequence[Ids]) -> list[Ids]:
        translations = []
        for batch in _batches(sources, size):
            translations += search(batch, max(map(len, batch)) + decode.extra_length)
        return translations

    return {"JoeyNMT": translate}
