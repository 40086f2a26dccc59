"""A model in the format of CTranslate2, built by its public specification from Marian's tensors.

CTranslate2 has a converter for Marian, but that one drops the last token of the vocabulary, where the Marian of its
authors has the padding, and begins translations with a zero vector instead of BOS: it would change this model.

The search of CTranslate2 differs from ours in three ways, of which the first two can be set:
* it generates at least one token: min_decoding_length=0;
* with length_penalty 0 it stops where the best live hypothesis ends, however many have: 1e-9 stops as ours does;
* it may generate PAD and BOS, to which a trained model gives almost no probability.
  suppress_sequences=[["<pad>"], ["<s>"]] forbids them, but renormalises the probabilities of the others, so that a
  beam may choose otherwise; greedy search does not.
"""

from pathlib import Path
from typing import Any

import torch

from lit_transformer.errors import UserError
from lit_transformer.export.marian import Marian
from lit_transformer.tokens import BOS, EOS, UNK

CTRANSLATE2_ACTIVATIONS = ("relu", "gelu", "swish")
"""Activations that both have; Marian names them as model.feed_forward.kind does."""


def require_ctranslate2() -> None:
    """Raise `UserError` where the package is not installed."""
    try:
        import ctranslate2  # noqa: F401
    except ImportError:
        raise UserError("this needs the package ctranslate2; install it: pip install ctranslate2") from None


def save_ctranslate2(marian: Marian, tokens: list[str], folder: Path) -> None:
    """Write model.bin, config.json and the vocabulary; `tokens` are the tokenizer's, in the order of their ids.

    The saved model appends EOS to a source by itself, and begins with BOS. Raises `UserError` for an activation that
    CTranslate2 does not have.
    """
    from ctranslate2.specs import TransformerSpec
    from ctranslate2.specs.transformer_spec import TransformerDecoderSpec, TransformerEncoderSpec

    config, tensors = marian.config, marian.tensors
    activation = _activation(config["activation_function"])
    sizes = {stack: (config[f"{stack}_layers"], config[f"{stack}_attention_heads"]) for stack in ("encoder", "decoder")}
    encoder = TransformerEncoderSpec(*sizes["encoder"], pre_norm=False, activation=activation)
    decoder = TransformerDecoderSpec(*sizes["decoder"], pre_norm=False, activation=activation)
    spec = TransformerSpec(encoder, decoder)
    for name, stack in (("encoder", encoder), ("decoder", decoder)):
        matrix = encoder.embeddings[0] if name == "encoder" else decoder.embeddings
        matrix.weight = _first(tensors, f"model.{name}.embed_tokens.weight", "model.shared.weight")
        stack.scale_embeddings = config["d_model"] ** 0.5 if config["scale_embedding"] else 1.0
        stack.position_encodings.encodings = tensors[f"model.{name}.embed_positions.weight"]
        for number, layer in enumerate(stack.layer):
            _set_layer(layer, f"model.{name}.layers.{number}", tensors, cross=name == "decoder")
    tied = ("lm_head.weight", "model.decoder.embed_tokens.weight", "model.shared.weight")
    decoder.projection.weight = _first(tensors, *tied)
    spec.config.unk_token, spec.config.bos_token, spec.config.eos_token = tokens[UNK], tokens[BOS], tokens[EOS]
    spec.config.decoder_start_token, spec.config.add_source_eos = tokens[BOS], True
    spec.register_source_vocabulary(tokens)
    spec.register_target_vocabulary(tokens)
    spec.validate()
    spec.optimize()
    spec.save(str(folder))


def _activation(name: str) -> Any:
    from ctranslate2.specs import Activation

    if name not in CTRANSLATE2_ACTIVATIONS:
        raise UserError(f"CTranslate2 has no activation {name} (possible: {', '.join(CTRANSLATE2_ACTIVATIONS)})")
    return getattr(Activation, name.upper())


def _set_layer(layer: Any, name: str, tensors: dict[str, Any], cross: bool) -> None:
    def linear(spec: Any, *names: str) -> None:
        spec.weight = torch.cat([tensors[f"{name}.{part}.weight"] for part in names])
        spec.bias = torch.cat([tensors[f"{name}.{part}.bias"] for part in names])

    def norm(spec: Any, part: str) -> None:
        spec.gamma, spec.beta = tensors[f"{name}.{part}.weight"], tensors[f"{name}.{part}.bias"]

    linear(layer.self_attention.linear[0], *(f"self_attn.{part}_proj" for part in "qkv"))
    linear(layer.self_attention.linear[1], "self_attn.out_proj")
    norm(layer.self_attention.layer_norm, "self_attn_layer_norm")
    if cross:
        linear(layer.attention.linear[0], "encoder_attn.q_proj")
        linear(layer.attention.linear[1], "encoder_attn.k_proj", "encoder_attn.v_proj")
        linear(layer.attention.linear[2], "encoder_attn.out_proj")
        norm(layer.attention.layer_norm, "encoder_attn_layer_norm")
    linear(layer.ffn.linear_0, "fc1")
    linear(layer.ffn.linear_1, "fc2")
    norm(layer.ffn.layer_norm, "final_layer_norm")


def _first(tensors: dict[str, Any], *names: str) -> Any:
    """Return the first of these tensors that exists."""
    return next(tensors[name] for name in names if name in tensors)
