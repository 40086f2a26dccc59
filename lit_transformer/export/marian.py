"""Conversion to Hugging Face's Marian: its config, its generation settings and its tensors.

Marian is the paper's post-norm Transformer with heads of width d_model / heads, layer norms of eps 1e-5 and biases
everywhere. Constant factors in which a network differs are folded into the matrices, so that the function is the same
but for rounding:

* eps: LN(c x) with eps 1e-5 is LN(x) with eps 1e-5 / c^2. All inputs of norms are multiplied by c = sqrt(1e-5 / eps),
  and what reads the residual stream divides by it. DeepNorm's alpha is one more factor of the stream.
* narrower heads, or fewer of them, are padded with zeros; shared keys are repeated.
* the scale of the scores, a bilinear score and trained factors per head go into the query matrix, a factor of the
  residual connection into the branch's last matrix.
* positions that are added to the embeddings become a table; features are reordered so that the paper's interleaved
  sines and cosines are Marian's own table, up to a factor.

transformers leaves the tables out when it saves a model, and computes its own when it loads one. A conversion that
`survives_saving` needs no other: positions are the paper's, nothing scales the residual stream, and eps stays as it is,
which moves a normalised value by some millionths where its variance is near 1.
"""

from typing import Any, NamedTuple

from torch import Tensor

from lit_transformer.config import (
    AttentionConfig,
    Cross,
    DecodeConfig,
    FeedForward,
    Mask,
    Mixer,
    ModelConfig,
    Norm,
    Placement,
    Positions,
    Residual,
    Score,
)
from lit_transformer.errors import UserError
from lit_transformer.export.marian_tensors import MarianTensors
from lit_transformer.tokens import BOS, EOS, PAD
from lit_transformer.transformer import Transformer

ACTIVATIONS = {
    FeedForward.relu: "relu",
    FeedForward.gelu: "gelu",
    FeedForward.swish: "swish",
    FeedForward.squared_relu: "relu2",
}
EXPRESSIBLE: dict[str, tuple[Any, ...]] = {
    "encoder_mixer": (Mixer.attention,),
    "decoder_mixer": (Mixer.attention,),
    "cross_mixer": (Cross.attention,),
    "feed_forward": tuple(ACTIVATIONS),
    "positions": (
        Positions.sinusoidal,
        Positions.sinusoidal_concatenated,
        Positions.learned,
        Positions.count,
        Positions.binary,
        Positions.none,
    ),
    "norm": (Norm.layer,),
    "residual": (Residual.identity, Residual.scaled, Residual.rezero, Residual.layer_drop),
}
PLACEMENTS: tuple[Placement, ...] = (Placement.post, Placement.deep_norm)
LARGEST_EPS = 2e-5
"""The largest eps of norms that makes no difference to Marian's 1e-5."""
IN_ATTENTION: dict[str, tuple[Any, ...]] = {
    "score": (Score.dot, Score.bilinear),
    "mask": (Mask.minus_inf, Mask.minus_1e9),
    "qk_norm": (False,),
    "talking_heads": (False,),
    "gate": (False,),
}


class Marian(NamedTuple):
    """The contents of config.json, generation_config.json and model.safetensors of a Marian folder."""

    config: dict[str, Any]
    generation: dict[str, Any]
    tensors: dict[str, Tensor]


def obstacles(config: ModelConfig, survives_saving: bool = False) -> list[str]:
    """Return why a model cannot be converted to Marian, one reason per setting; empty where it can."""
    reasons = []
    expressible, placements = EXPRESSIBLE, PLACEMENTS
    if survives_saving:
        expressible, placements = EXPRESSIBLE | {"positions": (Positions.sinusoidal,)}, (Placement.post,)
        if config.norm.eps > LARGEST_EPS:
            reasons.append(f"model.norm.eps is {config.norm.eps} (possible: up to {LARGEST_EPS})")
    for section, members in expressible.items():
        kind = getattr(config, section).kind
        if kind not in members:
            possible = ", ".join(member.value for member in members)
            reasons.append(f"model.{section}.kind is {kind} (possible: {possible})")
    if config.norm.placement not in placements:
        possible = ", ".join(placement.value for placement in placements)
        reasons.append(f"model.norm.placement is {config.norm.placement} (possible: {possible})")
    places = config.attention_at._asdict()
    for name, values in IN_ATTENTION.items():
        violating = [place for place, attention in places.items() if getattr(attention, name) not in values]
        if violating:
            possible = ", ".join(str(value) for value in values)
            value = getattr(places[violating[0]], name)
            reasons.append(f"attention.{name} is {value} in {', '.join(violating)} (possible: {possible})")
    for stack, attentions in _by_stack(config).items():
        if not _heads(attentions, config.d_model):
            shapes = " and ".join(dict.fromkeys(f"{a.heads} of {max(a.d_k, a.d_v)}" for a in attentions))
            reasons.append(
                f"the {stack}'s heads, {shapes}, do not fit into heads that make up d_model, {config.d_model}"
            )
    return reasons


def to_marian(network: Transformer, decode: DecodeConfig, survives_saving: bool = False) -> Marian:
    """Convert a network to Marian; `decode` becomes the defaults of `generate`.

    `survives_saving`: transformers may load and save it again, as training goes on; otherwise the tables must stay.
    With alpha 0 both searches agree; otherwise `generate` divides by length^alpha, not by ((5 + length) / 6)^alpha.
    Raises `UserError` with all reasons where the conversion is impossible.
    """
    if reasons := obstacles(network.config, survives_saving):
        raise UserError(f"Marian cannot express this model: {'; '.join(reasons)}")
    by_stack = _by_stack(network.config)
    heads = {stack: _heads(attentions, network.config.d_model) or 0 for stack, attentions in by_stack.items()}
    tensors = MarianTensors(network, heads, fold_eps=not survives_saving)
    generation: dict[str, Any] = {
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
        "decoder_start_token_id": BOS,
        "forced_eos_token_id": None,
        "suppress_tokens": [PAD, BOS],
        "do_sample": False,
        "max_length": tensors.positions,
        "num_beams": decode.beam,
    }
    if decode.beam > 1:
        generation |= {"length_penalty": decode.alpha, "early_stopping": True}
    return Marian(_config(network, tensors), generation, tensors.converted())


def _by_stack(config: ModelConfig) -> dict[str, list[AttentionConfig]]:
    """Return the attentions that have the same number of heads in Marian."""
    encoder, decoder, cross = config.attention_at
    return {"encoder": [encoder], "decoder": [decoder, cross]}


def _heads(attentions: list[AttentionConfig], d_model: int) -> int | None:
    """Return the fewest heads of width d_model / heads that hold those of each attention."""
    fewest = max(attention.heads for attention in attentions)
    width = max(max(attention.d_k, attention.d_v) for attention in attentions)
    return next((heads for heads in range(fewest, d_model // width + 1) if d_model % heads == 0), None)


def _config(network: Transformer, tensors: MarianTensors) -> dict[str, Any]:
    config = network.config
    common = {
        "layers": {"encoder": config.encoder_layers, "decoder": config.decoder_layers},
        "attention_heads": tensors.heads,
        "ffn_dim": dict.fromkeys(("encoder", "decoder"), config.feed_forward.width(config.d_model)),
    }
    return {
        "architectures": ["MarianMTModel"],
        "model_type": "marian",
        "dtype": "float32",
        "vocab_size": network.output_embedding.num_embeddings,
        "decoder_vocab_size": network.output_embedding.num_embeddings,
        "d_model": config.d_model,
        **{f"{stack}_{name}": value for name, values in common.items() for stack, value in values.items()},
        "activation_function": ACTIVATIONS[config.feed_forward.kind],
        "scale_embedding": config.embeddings.scale,
        "share_encoder_decoder_embeddings": tensors.shared,
        "tie_word_embeddings": tensors.tied,
        "max_position_embeddings": tensors.positions,
        "dropout": config.dropout,
        "attention_dropout": config.attention.dropout,
        "activation_dropout": config.feed_forward.dropout,
        "is_encoder_decoder": True,
        "pad_token_id": PAD,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "decoder_start_token_id": BOS,
        "forced_eos_token_id": None,
    }
