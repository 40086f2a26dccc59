"""A network in JoeyNMT 2.3, from Marian's tensors: the same function, so that its search is timed on the same weights.

JoeyNMT has Marian's layers with other names. Two things that it fixes are set here: the eps of its layer norms, and its
table of positions, whose features Marian orders otherwise.

Its beam search is another than ours, and a few translations differ. A finished hypothesis keeps its place in the beam
and goes on being extended; which places are finished is not reordered with the hypotheses; a sentence is over when all
of them are. It is timed without a length penalty, as the others are. Greedy search offers PAD, which a trained model
does not say; else it is ours. Both compute the whole prefix again at every step.

The package is read from a folder of its own, `FOLDER`, where it is installed without its requirements: they exclude the
protobuf that others here need. What only its training, plots and tokenizers call is then missing, see `UNUSED`.
"""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lit_transformer.batch import BOS, EOS, PAD, UNK
from lit_transformer.errors import UserError

if TYPE_CHECKING:
    from lit_transformer.export.marian import Marian

FOLDER = Path(sys.prefix) / "joeynmt"
"""Where `make bench` puts the package: inside the environment, but not among its packages."""
UNUSED = {
    "importlib_metadata": (),
    "torch.utils.tensorboard": ("SummaryWriter",),
    "joeynmt.plotting": ("plot_heatmap",),
    "joeynmt.tokenizers": ("BasicTokenizer",),
}
"""Modules that JoeyNMT's model and search import and never call, and the names that they import from them."""
JOEYNMT_ACTIVATIONS = ("relu", "gelu", "swish")
"""Activations of both; Marian calls them as model.feed_forward.kind does."""
PARTS = {
    ("encoder", "self_attn"): "src_src_att",
    ("encoder", "self_attn_layer_norm"): "layer_norm",
    ("decoder", "self_attn"): "trg_trg_att",
    ("decoder", "self_attn_layer_norm"): "x_layer_norm",
    ("decoder", "encoder_attn"): "src_trg_att",
    ("decoder", "encoder_attn_layer_norm"): "dec_layer_norm",
}
"""Names of Marian's parts of a layer in JoeyNMT; `IN_BOTH` holds those that do not depend on the stack."""
IN_BOTH = {
    "fc1": "feed_forward.pwff_layer.0",
    "fc2": "feed_forward.pwff_layer.3",
    "final_layer_norm": "feed_forward.layer_norm",
    "q_proj": "q_layer",
    "k_proj": "k_layer",
    "v_proj": "v_layer",
    "out_proj": "output_layer",
}


class Marks:
    """What JoeyNMT's model asks of a vocabulary: its size and the ids of the marks, which are ours."""

    pad_index, bos_index, eos_index, unk_index, sep_index = PAD, BOS, EOS, UNK, None
    specials: tuple[str, ...] = ()
    lang_tags: tuple[str, ...] = ()

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size


def require_joeynmt() -> str:
    """Make JoeyNMT importable and return its version; raise `UserError` where it is not installed."""
    if FOLDER.is_dir() and str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))  # last, so that no package of ours is shadowed
    try:
        with _stand_ins():
            import joeynmt.model
            import joeynmt.search
    except ImportError as error:
        command = f"pip install --no-deps --target {FOLDER} joeynmt==2.3.0"
        raise UserError(f"this needs the package joeynmt ({error}); install it: {command}") from None
    logging.getLogger("joeynmt.model").setLevel(logging.WARNING)  # it says that it builds a model, and that it has
    return str(joeynmt.__version__)


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Let `UNUSED` be imported for a while, as empty modules; nobody else sees them afterwards."""
    added = {name: ModuleType(name) for name in UNUSED if name not in sys.modules}
    for name, module in added.items():
        vars(module).update(dict.fromkeys(UNUSED[name]))
    sys.modules.update(added)
    try:
        yield
    finally:
        for name in added:
            sys.modules.pop(name, None)


def to_joeynmt(marian: "Marian") -> Any:
    """Return JoeyNMT's model in `eval()`; raises `UserError` for an activation that it does not have."""
    require_joeynmt()
    import torch
    from joeynmt.model import build_model

    from lit_transformer.export.marian_tensors import EPS

    config, tensors = marian.config, dict(marian.tensors)
    if config["activation_function"] not in JOEYNMT_ACTIVATIONS:
        possible = ", ".join(JOEYNMT_ACTIVATIONS)
        raise UserError(f"JoeyNMT has no activation {config['activation_function']} (possible: {possible})")
    marks = Marks(config["vocab_size"])
    model = build_model(_config(config), marks, marks)
    bias = tensors.pop("final_logits_bias")
    assert not bias.any(), "JoeyNMT has no place for it"
    source, target = (_matrix(tensors, f"model.{stack}.embed_tokens.weight") for stack in ("encoder", "decoder"))
    found = {"src_embed.lut.weight": source, "trg_embed.lut.weight": target}
    found["decoder.output_layer.weight"] = target if config["tie_word_embeddings"] else tensors["lm_head.weight"]
    for stack in ("encoder", "decoder"):
        table = tensors[f"model.{stack}.embed_positions.weight"][None]  # (1, places, D)
        getattr(model, stack).pe.pe = found[f"{stack}.pe.pe"] = table
    found |= {_renamed(name): tensor for name, tensor in tensors.items() if ".layers." in name}
    model.load_state_dict(found)  # which says what is missing or left over
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = EPS
    return model.eval()


def translator(model: Any, beam: int) -> Callable[[Sequence[Sequence[int]], int], list[list[int]]]:
    """Return a function from sources without EOS, and the most tokens of a translation, to translations without EOS."""
    from joeynmt.search import search

    def translate(sources: Sequence[Sequence[int]], limit: int) -> list[list[int]]:
        rows, _, _ = search(model, batch_of(sources), limit, beam, beam_alpha=-1, min_output_length=0)
        return [_words(row) for row in rows.tolist()]

    return translate


def batch_of(sources: Sequence[Sequence[int]]) -> Any:
    """Return sources without EOS as a batch of JoeyNMT's, which has EOS."""
    import torch
    from joeynmt.batch import Batch

    rows = [torch.tensor([*ids, EOS]) for ids in sources]
    src = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)  # (B, L)
    lengths = torch.tensor([len(row) for row in rows])  # (B,)
    order = torch.arange(len(rows))
    return Batch(src, lengths, None, None, None, order, src.device, PAD, EOS, is_train=False)


def _words(row: list[int]) -> list[int]:
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
    """Return JoeyNMT's name of a tensor of a layer, model.<stack>.layers.<number>.<part>. ... in Marian."""
    _, stack, layers, number, *parts = name.split(".")
    said = [PARTS.get((stack, part)) or IN_BOTH.get(part, part) for part in parts]
    return ".".join([stack, layers, number, *said])
