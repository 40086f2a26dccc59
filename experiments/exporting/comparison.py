"""Loads an export as its users do and compares it with the network it comes from; a difference is an error."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from data_modules.prepared import PreparedCorpus
from lit_transformer import Transformer
from lit_transformer.batch import TranslationBatch
from lit_transformer.decoding import greedy_search
from lit_transformer.errors import UserError
from lit_transformer.export import load_exported
from lit_transformer.tokens import BOS, PAD

SENTENCES = 16
"""Validation pairs to compare on."""
LOGITS = 1e-4
"""Largest difference of a logit, relative to the largest logit, that counts as rounding."""
LIMIT = 60
"""Most tokens of a compared translation."""


def compare_safetensors(network: Transformer, folder: Path) -> str:
    """Load the export; every tensor must be equal to the bit."""
    expected, found = network.state_dict(), load_exported(folder).state_dict()
    _require(
        all(torch.equal(found[name], value) for name, value in expected.items()), "safetensors", "holds other numbers"
    )
    return f"read back, the same to the bit in all {len(expected)} tensors"


def compare_marian(network: Transformer, folder: Path, corpus: PreparedCorpus) -> str:
    """Compare the logits of some validation pairs, where transformers is installed, after it has saved the model."""
    try:
        import transformers
    except ImportError:
        return "not compared with the network, since transformers is not installed"
    transformers.utils.logging.disable_progress_bar()
    with TemporaryDirectory() as again:  # what it leaves out when it saves, it must bring back itself
        transformers.MarianMTModel.from_pretrained(folder).save_pretrained(again)
        theirs: Any = transformers.MarianMTModel.from_pretrained(again).eval()
    batch = _batch(corpus)
    src = batch.src_layout.pad(batch.src).where(batch.src_layout.mask, 0)  # (B, S)
    tgt = batch.tgt_layout.pad(batch.tgt_in).where(batch.tgt_layout.mask, 0)  # (B, T)
    with torch.inference_mode():
        ours = network.logits(network.hidden(batch))  # (N_t, V)
        padded = theirs(input_ids=src, attention_mask=batch.src_layout.mask.long(), decoder_input_ids=tgt).logits
    difference = float((batch.tgt_layout.pack(padded) - ours).abs().max())
    _require(difference <= LOGITS * float(ours.abs().max()), "marian", f"has logits that differ by {difference:.1e}")
    pairs = batch.src_layout.sentences
    return f"Marian's logits differ by at most {difference:.1e} from the network's, on {pairs} validation pairs"


def compare_ctranslate2(network: Transformer, folder: Path, corpus: PreparedCorpus) -> str:
    """Compare the greedy translations of some validation sources."""
    import ctranslate2

    batch, tokens = _batch(corpus), corpus.tokenizer.tokens
    pairs, limit = batch.src_layout.sentences, min(LIMIT, (network.max_target_length or LIMIT + 1) - 1)
    with torch.inference_mode():
        state = network.init_cache(network.encode_packed(batch.src, batch.src_layout))
        ours = greedy_search(network.step, state, max_lengths=torch.full((pairs,), limit))
    translator = ctranslate2.Translator(str(folder), compute_type="float32")
    sources = [[tokens[token] for token in sentence] for sentence in _sources(corpus)]
    theirs = translator.translate_batch(
        sources,
        beam_size=1,
        max_decoding_length=limit,
        min_decoding_length=0,
        suppress_sequences=[[tokens[PAD]], [tokens[BOS]]],
    )
    expected = [[tokens[token] for token in hypothesis.tokens] for hypothesis in ours]
    same = sum(found.hypotheses[0] == line for found, line in zip(theirs, expected, strict=True))
    _require(same >= pairs - pairs // 8, "ctranslate2", f"translates {pairs - same} of {pairs} sentences otherwise")
    return f"{same} of {pairs} greedy translations of validation sources are the network's own"


def _batch(corpus: PreparedCorpus) -> TranslationBatch:
    split = corpus.split("valid")
    return TranslationBatch.from_pairs([split[pair] for pair in range(min(SENTENCES, len(split)))])


def _sources(corpus: PreparedCorpus) -> list[list[int]]:
    split = corpus.split("valid")
    return [split[pair][0].tolist() for pair in range(min(SENTENCES, len(split)))]


def _require(right: bool, to: str, what: str) -> None:
    if not right:
        raise UserError(f"the export to {to} {what}; nothing was written. This is a mistake of ours: please report it")
