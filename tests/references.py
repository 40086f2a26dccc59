"""Naive twins: slow, plain and obviously correct versions of what the project does fast; tests compare the two."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from lit_transformer.batch import EOS, PAD
from lit_transformer.transformer import Transformer

# Search -------------------------------------------------------------------------------------------------------------

NextLogProbs = Callable[[list[int]], list[float]]  # tokens so far, without BOS -> log-probability of each next token


def naive_penalty(length: int, alpha: float) -> float:
    return ((5 + length) / 6) ** alpha


def naive_greedy(next_log_probs: NextLogProbs, max_length: int) -> list[int]:
    """Take the most probable token but PAD and BOS until EOS or the end."""
    tokens: list[int] = []
    while len(tokens) < max_length:
        log_probs = next_log_probs(tokens)
        best = max(range(EOS, len(log_probs)), key=lambda token: log_probs[token])
        if best == EOS:
            break
        tokens.append(best)
    return tokens


def naive_beam(
    next_log_probs: NextLogProbs, beam: int, alpha: float, max_length: int
) -> list[tuple[float, float, list[int]]]:
    """Search one sentence with Python lists to the very end; return the finished (score, log_prob, tokens), best first.

    Of the extensions of all live hypotheses, those among the best `beam` that end with EOS (at the last length: all
    of the best `beam`) are finished, and the best `beam` that do not end with EOS live on, until `beam` are finished.
    """
    live: list[tuple[float, list[int]]] = [(0.0, [])]
    finished = []
    for length in range(1, max_length + 1):
        extensions = []
        for total, tokens in live:
            log_probs = next_log_probs(tokens)
            extensions += [(total + log_probs[token], [*tokens, token]) for token in range(EOS, len(log_probs))]
        extensions.sort(key=lambda extension: -extension[0])
        for total, tokens in extensions[:beam]:
            if tokens[-1] == EOS or length == max_length:
                words = tokens[:-1] if tokens[-1] == EOS else tokens
                finished.append((total / naive_penalty(length, alpha), total, words))
        if len(finished) >= beam:
            break
        live = [(total, tokens) for total, tokens in extensions if tokens[-1] != EOS][:beam]
    return sorted(finished, reverse=True)


def every_sequence(next_log_probs: NextLogProbs, alpha: float, max_length: int) -> list[tuple[float, float, list[int]]]:
    """Score every sequence that ends with EOS or has `max_length` tokens: (score, log_prob, tokens), best first."""

    def grow(tokens: list[int], total: float) -> Iterator[tuple[float, float, list[int]]]:
        length = len(tokens) + 1
        for token, log_prob in list(enumerate(next_log_probs(tokens)))[EOS:]:
            grown = total + log_prob
            if token == EOS or length == max_length:
                words = tokens if token == EOS else [*tokens, token]
                yield grown / naive_penalty(length, alpha), grown, words
            else:
                yield from grow([*tokens, token], grown)

    return sorted(grow([], 0.0), reverse=True)


# Model --------------------------------------------------------------------------------------------------------------


def naive_logits(model: Transformer, src: Tensor, tgt_in: Tensor) -> Tensor:
    """Run a model's weights over padded rectangles (B, S) and (B, T) with masks, in plain products: (B, T, V).

    Dropout is left out. Everything is read from the config here again, apart from the modules' own forwards.
    """
    src_mask = (src != PAD)[:, None, None, :]  # (B, 1, 1, S)
    later = torch.ones(tgt_in.shape[1], tgt_in.shape[1], dtype=torch.bool).triu(1)
    tgt_mask = (tgt_in != PAD)[:, None, None, :] & ~later  # (B, 1, T, T)
    x = _naive_embed(model, model.src_embedding, src)
    for layer in model.encoder:
        x = _naive_sublayer(model, layer.mixer, x, _naive_attention(model, layer.mixer, x, None, src_mask))
        x = _naive_sublayer(model, layer.feed_forward, x, _naive_feed_forward(model, layer.feed_forward, x))
    memory = _naive_norm(model, model.encoder_norm, x) if model.config.norm.placement == "pre" else x
    x = _naive_embed(model, model.tgt_embedding, tgt_in)
    for layer in model.decoder:
        x = _naive_sublayer(model, layer.mixer, x, _naive_attention(model, layer.mixer, x, None, tgt_mask))
        x = _naive_sublayer(model, layer.cross, x, _naive_attention(model, layer.cross, x, memory, src_mask))
        x = _naive_sublayer(model, layer.feed_forward, x, _naive_feed_forward(model, layer.feed_forward, x))
    x = _naive_norm(model, model.decoder_norm, x) if model.config.norm.placement == "pre" else x
    matrix = model.src_embedding.vectors if model.config.embeddings.tying == "three_way" else model.softmax
    return x @ matrix.weight.T


def _naive_embed(model: Transformer, embedding: nn.Module, ids: Tensor) -> Tensor:
    config, length = model.config, ids.shape[1]
    x = embedding.vectors.weight[ids] * (math.sqrt(config.d_model) if config.embeddings.scale else 1.0)
    if config.positions.kind == "learned":
        return x + embedding.positions.embedding.weight[:length]
    if config.positions.kind == "sinusoidal":
        table = [[naive_sinusoid(place, i, config.d_model) for i in range(config.d_model)] for place in range(length)]
        return x + torch.tensor(table, dtype=torch.float32)  # the model's table is rounded so
    assert config.positions.kind == "none"
    return x


def naive_sinusoid(place: int, dimension: int, d_model: int) -> float:
    """Section 3.5, one entry of the table."""
    angle = place / 10000 ** ((dimension - dimension % 2) / d_model)
    return math.cos(angle) if dimension % 2 else math.sin(angle)


def _naive_sublayer(model: Transformer, sublayer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    joined = x + y if model.config.residual == "identity" else y
    return _naive_norm(model, sublayer.post_norm, joined) if model.config.norm.placement == "post" else joined


def _naive_entry(model: Transformer, sublayer: nn.Module, x: Tensor) -> Tensor:
    return _naive_norm(model, sublayer.pre_norm, x) if model.config.norm.placement == "pre" else x


def _naive_norm(model: Transformer, norm: nn.Module, x: Tensor) -> Tensor:
    kind, eps = model.config.norm.kind, model.config.norm.eps
    if kind == "layer":
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * norm.weight + norm.bias
    if kind == "rms":
        return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * norm.weight
    assert kind == "none"
    return x


def _naive_attention(model: Transformer, sublayer: nn.Module, x: Tensor, memory: Tensor | None, mask: Tensor) -> Tensor:
    """One head after another; mask is True where a query may look."""
    config, inner = model.config.attention, sublayer.inner
    x = _naive_entry(model, sublayer, x)
    seen = x if memory is None else memory
    q, k, v = inner.query(x), inner.key(seen), inner.value(seen)
    scale = 1 / math.sqrt(config.d_k) if config.scale == "inverse_sqrt" else 1.0
    heads = []
    for head in range(config.heads):
        keys, values = (
            slice(head * config.d_k, (head + 1) * config.d_k),
            slice(head * config.d_v, (head + 1) * config.d_v),
        )
        scores = (q[..., keys] @ k[..., keys].transpose(1, 2) * scale).masked_fill(~mask[:, 0], -1e30)
        heads.append(scores.softmax(-1) @ v[..., values])
    return inner.output(torch.cat(heads, -1))


def _naive_feed_forward(model: Transformer, sublayer: nn.Module, x: Tensor) -> Tensor:
    x = sublayer.inner.widen(_naive_entry(model, sublayer, x))
    if model.config.feed_forward.kind == "gelu":
        x = x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    else:
        assert model.config.feed_forward.kind == "relu", "a new activation needs its plain formula here"
        x = x.clamp(min=0)
    return sublayer.inner.narrow(x)
