"""A whole model with copied weights equals Hugging Face's Marian, logits and gradients."""

from collections.abc import Iterator

import torch
import transformers
from torch import Tensor, nn

from lit_transformer.config import AttentionConfig, FeedForwardConfig, ModelConfig, NormConfig
from lit_transformer.transformer import Transformer
from tests.small_models import PAIRS, VOCAB, assert_close, batch_of, build, padded

CONFIG = ModelConfig(
    d_model=16,
    encoder_layers=2,
    decoder_layers=3,
    attention=AttentionConfig(heads=2, d_k=8, d_v=8, bias=True),
    feed_forward=FeedForwardConfig(d_ff=24),
    norm=NormConfig(eps=1e-5),
    dropout=0.0,
)
PROJECTIONS = [
    ("in_proj.query", "q_proj"),
    ("in_proj.key", "k_proj"),
    ("in_proj.value", "v_proj"),
    ("out_proj", "out_proj"),
]


def marian() -> nn.Module:
    return transformers.MarianMTModel(
        transformers.MarianConfig(
            vocab_size=VOCAB,
            d_model=16,
            encoder_layers=2,
            decoder_layers=3,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=24,
            decoder_ffn_dim=24,
            activation_function="relu",
            scale_embedding=True,
            max_position_embeddings=32,
            dropout=0.0,
            pad_token_id=0,
            eos_token_id=2,
            forced_eos_token_id=None,
            decoder_start_token_id=1,
            attn_implementation="eager",
        )
    )


def matches(ours: Transformer, theirs: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield every parameter of ours with its twin."""
    yield ours.output_embedding.weight, theirs.model.shared.weight
    for stack in ("encoder", "decoder"):
        for layer, twin in zip(getattr(ours, stack).layers, getattr(theirs.model, stack).layers, strict=True):
            parts = layer.sublayers
            attentions = [(parts["mixer"], twin.self_attn, twin.self_attn_layer_norm)]
            if stack == "decoder":
                attentions.append((parts["cross"], twin.encoder_attn, twin.encoder_attn_layer_norm))
            modules = [
                (parts["feed_forward"].inner.fc1, twin.fc1),
                (parts["feed_forward"].inner.fc2, twin.fc2),
                (parts["feed_forward"].norm, twin.final_layer_norm),
            ]
            for sublayer, attention, norm in attentions:
                modules.append((sublayer.norm, norm))
                modules += [
                    (sublayer.inner.get_submodule(name), getattr(attention, twin)) for name, twin in PROJECTIONS
                ]
            for mine, other in modules:
                yield mine.weight, other.weight
                yield mine.bias, other.bias


def test_logits_and_gradients_equal_marian() -> None:
    ours, theirs = build(CONFIG), marian()
    pairs = list(matches(ours, theirs))
    assert {id(mine) for mine, _ in pairs} == {id(parameter) for parameter in ours.parameters()}
    trained = {id(parameter) for parameter in theirs.parameters() if parameter.requires_grad}
    assert {id(twin) for _, twin in pairs} == trained
    with torch.no_grad():
        for mine, twin in pairs:
            twin.copy_(mine)
    for embedding, stack in ((ours.src_embedding, theirs.model.encoder), (ours.tgt_embedding, theirs.model.decoder)):
        table = embedding.positions.table(32)[:32]  # ours alternates sines and cosines, Marian's has all sines first
        assert_close(torch.cat([table[:, 0::2], table[:, 1::2]], dim=1), stack.embed_positions.weight)
        embedding.positions.table.rows = stack.embed_positions.weight.detach().clone()

    batch = batch_of(PAIRS)
    src, tgt_in, _ = padded(batch)
    logits = ours(src, tgt_in)
    expected = theirs(input_ids=src, attention_mask=(src != 0).long(), decoder_input_ids=tgt_in).logits
    real = batch.tgt_layout.mask
    assert_close(logits[real], expected[real])
    assert not logits[~real].any()
    upstream = torch.randn_like(logits[real])
    logits[real].backward(upstream)
    expected[real].backward(upstream)
    for mine, twin in pairs:
        assert_close(mine.grad, twin.grad)
