"""JoeyNMT 2.3 with weights from Marian's tensors: the same function, so that its search runs on the same weights.

JoeyNMT has Marian's layers under other names. Two of its constants are overridden: the eps of its layer norms, and its
position table, whose features Marian orders differently.

Its beam search differs from ours, and so do a few translations. A finished hypothesis stays in the beam and is still
extended; the finished flags are not reordered with the hypotheses; a sentence ends when all of them are finished. It
is timed without a length penalty, like the others. Its greedy search is ours, except that it allows PAD, which a
trained model does not produce. Both recompute the whole prefix at every step.

It requires a protobuf that other packages exclude, so it is installed into its own folder, `FOLDER`, with what its
model and search import, at the versions of `REQUIREMENTS`.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lit_transformer.errors import UserError
from lit_transformer.tokens import BOS, EOS, PAD, UNK

if TYPE_CHECKING:
    from lit_transformer.export.marian import Marian

FOLDER = Path(sys.prefix) / "joeynmt"
"""Where `make bench` installs the package: inside the environment, outside site-packages."""
REQUIREMENTS = Path(__file__).with_name("joeynmt.txt")
"""JoeyNMT and the packages it imports that constraints.txt lacks, all pinned."""
JOEYNMT_ACTIVATIONS = ("relu", "gelu", "swish")
"""Activations of both, by their names in Marian and in model.feed_forward.kind."""
PARTS = {
    ("encoder", "self_attn"): "src_src_att",
    ("encoder", "self_attn_layer_norm"): "layer_norm",
    ("decoder", "self_attn"): "trg_trg_att",
    ("decoder", "self_attn_layer_norm"): "x_layer_norm",
    ("decoder", "encoder_attn"): "src_trg_att",
    ("decoder", "encoder_attn_layer_norm"): "dec_layer_norm",
}
"""JoeyNMT's names of Marian's submodules of a layer; `IN_BOTH` has those that are the same in both stacks."""
IN_BOTH = {
    "fc1": "feed_forward.pwff_layer.0",
    "fc2": "feed_forward.pwff_layer.3",
    "final_layer_norm": "feed_forward.layer_norm",
    "q_proj": "q_layer",
    "k_proj": "k_layer",
    "v_proj": "v_layer",
    "out_proj": "output_layer",
}


class Vocabulary:
    """What JoeyNMT's model needs of a vocabulary: its size and our special ids."""

    pad_index, bos_index, eos_index, unk_index, sep_index = PAD, BOS, EOS, UNK, None
    specials: tuple[str, ...] = ()
    lang_tags: tuple[str, ...] = ()

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size


def require_joeynmt() -> str:
    """Import JoeyNMT, from `FOLDER` if it is there, and return its version; raises UserError where it is missing."""
    if FOLDER.is_dir() and str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))  # last, so that it shadows nothing
    try:
        import joeynmt.model
        import joeynmt.search
    except ImportError as error:
        command = f"pip install --no-deps --target {FOLDER} -r {REQUIREMENTS}"
        raise UserError(f"this needs the package joeynmt ({error}); install it: {command}") from None
    logging.getLogger("joeynmt.model").setLevel(logging.WARNING)  # it logs that it builds a model
    return str(joeynmt.__version__)


def to_joeynmt(marian: "Marian") -> Any:
    """Return JoeyNMT's model in eval mode; raises UserError for an activation that it does not have."""
    require_joeynmt()
    import torch
    from joeynmt.model import build_model

    from lit_transformer.export.marian_tensors import EPS

    config, tensors = marian.config, dict(marian.tensors)
    if config["activation_function"] not in JOEYNMT_ACTIVATIONS:
        possible = ", ".join(JOEYNMT_ACTIVATIONS)
        raise UserError(f"JoeyNMT has no activation {config['activation_function']} (possible: {possible})")
    vocabulary = Vocabulary(config["vocab_size"])
    model = build_model(_config(config), vocabulary, vocabulary)
    bias = tensors.pop("final_logits_bias")
    assert not bias.any(), "JoeyNMT has no output bias"
    source, target = (_matrix(tensors, f"model.{stack}.embed_tokens.weight") for stack in ("encoder", "decoder"))
    state = {"src_embed.lut.weight": source, "trg_embed.lut.weight": target}
    state["decoder.output_layer.weight"] = target if config["tie_word_embeddings"] else tensors["lm_head.weight"]
    for stack in ("encoder", "decoder"):
        table = tensors[f"model.{stack}.embed_positions.weight"][None]  # (1, places, D)
        getattr(model, stack).pe.pe = state[f"{stack}.pe.pe"] = table
    state |= {_renamed(name): tensor for name, tensor in tensors.items() if ".layers." in name}
    model.load_state_dict(state)  # strict: reports missing and unexpected names
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = EPS
    return model.eval()


def translator(model: Any, beam: int) -> Callable[[Sequence[Sequence[int]], int], list[list[int]]]:
    """Return a function (sources, maximum length) -> translations, all without EOS."""
    from joeynmt.search import search

    def translate(sources: Sequence[Sequence[int]], max_length: int) -> list[list[int]]:
        rows, _, _ = search(model, batch_of(sources), max_length, beam, beam_alpha=-1, min_output_length=0)
        return [_strip(row) for row in rows.tolist()]

    return translate


def batch_of(sources: Sequence[Sequence[int]]) -> Any:
    """Return a JoeyNMT batch, with EOS, of sources without EOS."""
    import torch
    from joeynmt.batch import Batch

    rows = [torch.tensor([*ids, EOS]) for ids in sources]
    src = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)  # (B, L)
    lengths = torch.tensor([len(row) for row in rows])  # (B,)
    order = torch.arange(len(rows))
    return Batch(src, lengths, None, None, None, order, src.device, PAD, EOS, is_train=False)


def _strip(row: list[int]) -> list[int]:
    ended = row[: row.index(EOS)] if EOS in row else row
    return [token for token in ended if token != PAD]


def _config(marian: dict[str, Any]) -> dict[str, Any]:
    stacks = {
        stack: {
            "type": "transformer",
            "num_layers": marian[f"{stack}_layers"],
            "num_heads": marian[f"{stack}_attention_heads"],
            "hidden_size": marian["d_model"],
            "ff_size": marian[f"{stack}_ffn_dim"],
            "activation": marian["activation_function"],
            "layer_norm": "post",
            "embeddings": {"embedding_dim": marian["d_model"], "scale": marian["scale_embedding"]},
        }
        for stack in ("encoder", "decoder")
    }
    shared, tied = marian["share_encoder_decoder_embeddings"], marian["tie_word_embeddings"]
    return {"tied_embeddings": shared, "tied_softmax": tied, **stacks}


def _matrix(tensors: dict[str, Any], name: str) -> Any:
    return tensors[name if name in tensors else "model.shared.weight"]


def _renamed(name: str) -> str:
    """Return JoeyNMT's name of Marian's tensor model.<stack>.layers.<number>.<part>..."""
    _, stack, layers, number, *parts = name.split(".")
    renamed = [PARTS.get((stack, part)) or IN_BOTH.get(part, part) for part in parts]
    return ".".join([stack, layers, number, *renamed])
