"""The probe: softmax and gradient statistics of a model in training, on one fixed small batch of the validation split.

It writes how peaked each softmax is, the spread of its scores, and the norms of gradients to probe.csv, before the
first step and at each validation. It has no side effects: it draws no random number and restores every gradient, buffer
and mode, so that a run has the same weights without it. A mixer other than attention has no softmax.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from data_modules.prepared import Split
from experiments.training.probe_csv import LAST, Key, write_probe
from lit_transformer.attention_maps import attention_of, record_kernel_inputs
from lit_transformer.batch import Layout, TranslationBatch
from lit_transformer.components.attention import MultiHeadAttention
from lit_transformer.components.kernels import AttentionMask
from lit_transformer.components.mixers.local import LocalAttention
from lit_transformer.layers import Layer
from lit_transformer.module import LitTransformer
from lit_transformer.training.losses import label_smoothed_cross_entropy
from lit_transformer.transformer import Transformer

MEASURES = {
    "largest_weight": "the largest weight of a row of the softmax, mean over rows",
    "entropy": "the entropy of a row, relative to that of equal weights",
    "jacobian": "the sum of p (1 - p) over a row, relative to equal weights: how much gradient the softmax passes on",
    "score_std": "the standard deviation, within a row, of the scores of the visible keys",
    "hidden_weight": "the weight on keys that the mask should hide",
    "query_key_gradient": "the gradient norm of W_Q and W_K",
    "value_gradient": "the gradient norm of W_V",
    "gradient": "the gradient norm of all weights of the part",
    "step_gradient": "the gradient norm of a training step before clipping, mean since the row before",
    "step_gradient_largest": "the largest of these",
}
PAIRS = 32
MIN_KEYS = 4
"""Fewest visible keys of a row that counts: a single key has all the weight, whatever its score."""
HIDDEN = -5e8
"""Scores below this are masked: a mask gives hidden keys minus infinity or -1e9."""


def probe_batch(split: Split) -> TranslationBatch:
    """Return a few pairs, spread evenly over a split: the same for every variant and seed."""
    count = min(PAIRS, len(split))
    indices = [i * len(split) // count for i in range(count)]
    return TranslationBatch.from_pairs([split[i] for i in indices], indices)


def measure(network: Transformer, batch: TranslationBatch) -> dict[Key, float]:
    """Return every measure of a network on a batch, except those of training steps; the network is left unchanged."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        _evaluating(network),
        record_kernel_inputs(network) as kernel_inputs,
    ):
        hidden = network.hidden(batch)
        nats = label_smoothed_cross_entropy(hidden, network.output_embedding.weight, batch.tgt_out, 0.0)
        loss = nats / len(batch.tgt_out)
        grads = torch.autograd.grad(loss, parameters, allow_unused=True)
    gradients = {id(parameter): grad for parameter, grad in zip(parameters, grads, strict=True) if grad is not None}
    measured: dict[Key, Tensor] = {}
    with torch.no_grad():
        for part, layer, attention in _attentions(network):
            if id(attention.kernel) not in kernel_inputs:
                continue
            queries, keys, _, mask, bias = kernel_inputs[id(attention.kernel)]
            scores = attention.kernel.scores(queries, keys, mask, bias).float()
            layout = batch.src_layout if part == "encoder" else batch.tgt_layout
            rows = softmax_measures(scores, _visible(mask, queries, keys), _real_queries(attention, layout))
            measured |= {(part, layer, name): value for name, value in rows.items()}
        for key, group in _groups(network):
            group_gradients = [gradients[id(parameter)] for parameter in group if id(parameter) in gradients]
            measured[key] = torch.nn.utils.get_total_norm(group_gradients).to(loss.device)
    values = torch.stack([value.float() for value in measured.values()]).tolist()  # synchronises a GPU once
    return dict(zip(measured, values, strict=True))


def softmax_measures(scores: Tensor, visible: Tensor, real: Tensor) -> dict[str, Tensor]:
    """Return the statistics of a softmax over scores (B, H, Q, K); `visible`: the keys that the mask lets through.

    Means are over heads and over the queries that are no padding, real (B, Q), and have `MIN_KEYS` visible keys; empty
    where there are none.
    """
    visible = visible.expand_as(scores)
    count = visible.sum(-1)  # (B, H, Q)
    rows = (count >= MIN_KEYS) & real[:, None]
    if not bool(rows.any()):
        return {}
    scores, visible, count = scores[rows], visible[rows], count[rows][:, None]  # (R, K) twice and (R, 1)
    weights = scores.softmax(-1)
    unmasked = (scores > HIDDEN).sum(-1)  # (R,): more than are visible where the mask leaks
    centred = scores - scores.where(visible, 0).sum(-1, keepdim=True) / count
    variances = centred.square().where(visible, 0).sum(-1, keepdim=True) / count
    return {
        "largest_weight": weights.amax(-1).mean(),
        "entropy": (torch.special.entr(weights).sum(-1) / unmasked.log()).mean(),
        "jacobian": ((weights * (1 - weights)).sum(-1) / (1 - 1 / unmasked)).mean(),
        "score_std": variances.mean().sqrt(),
        "hidden_weight": weights.where(~visible, 0).sum(-1).mean(),
    }


class Probe(pl.Callback):
    """Measures before the first step and at each validation, on rank 0; its rows are part of the checkpoint.

    `log_row` is called with the values by name, and the step. Place it before `Curve`, so that measuring does not count
    as training time, and before `CheckpointWriter`, which then saves the newest row.
    """

    def __init__(self, path: Path, batch: TranslationBatch, log_row: Callable[..., object] | None = None) -> None:
        self.path = path
        self.batch = batch
        self.log_row = log_row
        self.rows: list[list[Any]] = []
        self.steps = 0
        self.norms: Tensor | None = None  # of the steps since the row before: their sum and their maximum
        self.step_gradient = math.nan  # the mean of the last row

    def state_dict(self) -> dict[str, Any]:
        norms = [0.0, 0.0] if self.norms is None else self.norms.tolist()
        return {"rows": [list(row) for row in self.rows], "steps": self.steps, "norms": norms}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self.steps = [list(row) for row in state_dict["rows"]], state_dict["steps"]
        self.norms = torch.tensor(state_dict["norms"], dtype=torch.float64) if self.steps else None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.rows and trainer.is_global_zero:  # those of a checkpoint; their file may have been lost since
            write_probe(self.path, self.rows)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_step == 0:
            self._measure(trainer, cast(LitTransformer, pl_module).network)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
        self.add_norm(torch.nn.utils.get_total_norm(gradients).double())

    def add_norm(self, norm: Tensor) -> None:
        """Add a step's gradient norm, before clipping, to the sum and the maximum since the last row."""
        before = norm.new_zeros(2) if self.norms is None else self.norms.to(norm.device)
        self.norms = torch.stack([before[0] + norm, torch.maximum(before[1], norm)])
        self.steps += 1

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._measure(trainer, cast(LitTransformer, pl_module).network)

    def _measure(self, trainer: pl.Trainer, network: Transformer) -> None:
        if not trainer.is_global_zero:
            return
        self.batch = self.batch.to(network.output_embedding.weight.device)
        measured = measure(network, self.batch)
        if self.norms is not None:
            total, largest = self.norms.tolist()
            self.step_gradient = total / self.steps
            measured |= {("all", None, "step_gradient"): self.step_gradient}
            measured |= {LAST: largest}
        self.steps, self.norms = 0, None
        step = trainer.global_step
        self.rows += [[step, part, layer, name, value] for (part, layer, name), value in measured.items()]
        write_probe(self.path, self.rows)
        if self.log_row:
            self.log_row({f"probe/{_label(*key[:2])}/{key[2]}": value for key, value in measured.items()}, step)


def _label(part: str, layer: int | None) -> str:
    return part if layer is None else f"{part}{layer}"


def _attentions(network: Transformer) -> Iterator[tuple[str, int, MultiHeadAttention]]:
    """Yield each attention: "encoder", "decoder" or "cross", its layer and itself."""
    for part, number, layer in _layers(network):
        for name, sublayer in layer.sublayers.items():
            if (attention := attention_of(sublayer)) is not None:
                yield "cross" if name == "cross" else part, number, attention


def _layers(network: Transformer) -> Iterator[tuple[str, int, Layer]]:
    for part, stack in (("encoder", network.encoder), ("decoder", network.decoder)):
        for number, layer in enumerate(stack.layers, start=1):
            yield part, number, cast(Layer, layer)


def _groups(network: Transformer) -> Iterator[tuple[Key, Sequence[nn.Parameter]]]:
    """Yield the parameters of each gradient norm, with its key."""
    yield ("all", None, "gradient"), list(network.parameters())
    embeddings = nn.ModuleList([network.src_embedding, network.tgt_embedding, network.output_embedding])
    yield ("embedding", None, "gradient"), list(embeddings.parameters())
    for part, number, layer in _layers(network):
        yield (part, number, "gradient"), list(layer.parameters())
    for part, number, attention in _attentions(network):
        query_key = [*attention.in_proj.query.parameters(), *attention.in_proj.key.parameters()]
        yield (part, number, "query_key_gradient"), query_key
        yield (part, number, "value_gradient"), list(attention.in_proj.value.parameters())


def _visible(mask: AttentionMask, queries: Tensor, keys: Tensor) -> Tensor:
    """Return the keys that each query may attend to, without padding: a mask, broadcast to (B, H, Q, K)."""
    dense = mask.dense(queries, keys)
    if dense is None:
        return torch.ones(1, 1, 1, keys.shape[2], dtype=torch.bool, device=keys.device)
    return dense.view(*[1] * (4 - dense.dim()), *dense.shape)


def _real_queries(attention: nn.Module, layout: Layout) -> Tensor:
    """Return which queries of the rectangle, (B, Q), or of the blocks of a band, (B*P, Q), are no padding."""
    if isinstance(attention, LocalAttention) and layout.max_seqlen > attention.max_square:
        return attention.band.query_blocks(layout.mask[:, None, :, None])[:, 0, :, 0]
    return layout.mask


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Set eval mode and restore every module's mode; without cuDNN, which cannot differentiate an LSTM in eval mode."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
