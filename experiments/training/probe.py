"""The probe: what goes on inside a model while it trains, on one fixed small batch of the validation split.

How sharp each softmax is, how far its scores spread, and how large the gradients are, before the first step and at
each validation, in probe.csv. It looks and never touches: no random number is drawn, no gradient, buffer or mode stays
changed, so that the weights of a run are those of a run without it. A mixer that is no attention has no softmax.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from data_modules.prepared import Split
from experiments.training.probe_csv import Key, write_probe
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
    "entropy": "the entropy of a row over that of equal weights",
    "jacobian": "the sum of p (1 - p) over a row, over that of equal weights: what the softmax lets a gradient through",
    "score_std": "the standard deviation, within a row, of the scores of the keys that may be looked at",
    "hidden_weight": "the weight that lies on keys that the mask should hide",
    "query_key_gradient": "the norm of the loss's gradient by W_Q and W_K",
    "value_gradient": "the norm of the loss's gradient by W_V",
    "gradient": "the norm of the loss's gradient by all weights of the part",
    "step_gradient": "the norm of the gradient of a training step before it is clipped, mean since the row before",
    "step_gradient_largest": "the largest of these",
}
PAIRS = 32
LEAST = 4
"""Rows of fewer visible keys are left out: one key has all the weight, whatever its score."""
HIDDEN = -5e8
"""A score below this takes no part: a mask gives hidden keys minus infinity or -1e9."""


def probe_batch(split: Split) -> TranslationBatch:
    """Return a few pairs, spread evenly over a split: the same for every variant and seed."""
    number = min(PAIRS, len(split))
    indexes = [i * len(split) // number for i in range(number)]
    return TranslationBatch.from_pairs([split[i] for i in indexes], indexes)


def measure(network: Transformer, batch: TranslationBatch) -> dict[Key, float]:
    """Return every measure of a network on a batch but those of training steps; the network stays as it is."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        _evaluating(network),
        record_kernel_inputs(network) as caught,
    ):
        hidden = network.hidden(batch)
        loss = label_smoothed_cross_entropy(hidden, network.output_embedding.weight, batch.tgt_out, 0.0) / len(
            batch.tgt_out
        )
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
    gradients = {id(parameter): value for parameter, value in zip(parameters, found, strict=True) if value is not None}
    measured: dict[Key, Tensor] = {}
    with torch.no_grad():
        for part, layer, attention in _attentions(network):
            if id(attention.kernel) not in caught:
                continue
            queries, keys, _, mask, bias = caught[id(attention.kernel)]
            scores = attention.kernel.scores(queries, keys, mask, bias).float()
            layout = batch.src_layout if part == "encoder" else batch.tgt_layout
            rows = softmax_measures(scores, _visible(mask, queries, keys), _real_queries(attention, layout))
            measured |= {(part, layer, name): value for name, value in rows.items()}
        for key, group in _groups(network):
            own = [gradients[id(parameter)] for parameter in group if id(parameter) in gradients]
            measured[key] = torch.nn.utils.get_total_norm(own).to(loss.device)
    values = torch.stack([value.float() for value in measured.values()]).tolist()  # one wait for a GPU
    return dict(zip(measured, values, strict=True))


def softmax_measures(scores: Tensor, visible: Tensor, real: Tensor) -> dict[str, Tensor]:
    """Return how sharp a softmax is: scores (B, H, Q, K), the keys that may be looked at, broadcast to them.

    The means are over the heads and the queries that are no padding, real (B, Q), and may look at `LEAST` keys; nothing
    where there is none.
    """
    visible = visible.expand_as(scores)
    count = visible.sum(-1)  # (B, H, Q)
    rows = (count >= LEAST) & real[:, None]
    if not bool(rows.any()):
        return {}
    scores, visible, count = scores[rows], visible[rows], count[rows][:, None]  # (R, K) twice and (R, 1)
    weights = scores.softmax(-1)
    among = (scores > HIDDEN).sum(-1)  # (R,): more than are visible where the mask leaks
    centred = scores - scores.where(visible, 0).sum(-1, keepdim=True) / count
    variances = centred.square().where(visible, 0).sum(-1, keepdim=True) / count
    return {
        "largest_weight": weights.amax(-1).mean(),
        "entropy": (torch.special.entr(weights).sum(-1) / among.log()).mean(),
        "jacobian": ((weights * (1 - weights)).sum(-1) / (1 - 1 / among)).mean(),
        "score_std": variances.mean().sqrt(),
        "hidden_weight": weights.where(~visible, 0).sum(-1).mean(),
    }


class Probe(pl.Callback):
    """Measures before the first step and at each validation, on the first rank; its rows travel in the checkpoint.

    `log` takes each row's values by name, and its step.
    Stand before `Curve`, so that measuring is not training time, and before the checkpoint, which holds the row.
    """

    def __init__(self, path: Path, batch: TranslationBatch, log: Callable[..., object] | None = None) -> None:
        self.path = path
        self.batch = batch
        self.log = log
        self.rows: list[list[Any]] = []
        self.steps = 0
        self.norms: Tensor | None = None

    def state_dict(self) -> dict[str, Any]:
        norms = [0.0, 0.0] if self.norms is None else self.norms.tolist()
        return {"rows": [list(row) for row in self.rows], "steps": self.steps, "norms": norms}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self.steps = [list(row) for row in state_dict["rows"]], state_dict["steps"]
        self.norms = torch.tensor(state_dict["norms"], dtype=torch.float64) if self.steps else None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_step == 0:
            self._measure(trainer, cast(LitTransformer, pl_module).network)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients).double()
        before = norm.new_zeros(2) if self.norms is None else self.norms.to(norm.device)
        self.norms = torch.stack([before[0] + norm, torch.maximum(before[1], norm)])
        self.steps += 1

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._measure(trainer, cast(LitTransformer, pl_module).network)

    def _measure(self, trainer: pl.Trainer, network: Transformer) -> None:
        if not trainer.is_global_zero:
            return
        self.batch = self.batch.to(network.output_embedding.weight.device)
        found = measure(network, self.batch)
        if self.norms is not None:
            total, largest = self.norms.tolist()
            found |= {("all", None, "step_gradient"): total / self.steps}
            found |= {("all", None, "step_gradient_largest"): largest}
        self.steps, self.norms = 0, None
        step = trainer.global_step
        self.rows += [[step, part, layer, name, value] for (part, layer, name), value in found.items()]
        write_probe(self.path, self.rows)
        if self.log:
            self.log(
                {f"probe/{_place(part, layer)}/{name}": value for (part, layer, name), value in found.items()}, step
            )


def _place(part: str, layer: int | None) -> str:
    return part if layer is None else f"{part}{layer}"


def _attentions(network: Transformer) -> Iterator[tuple[str, int, MultiHeadAttention]]:
    """Yield each attention: "encoder", "decoder" or "cross", its layer and itself."""
    for part, layer, own in _layers(network):
        for name, sublayer in own.sublayers.items():
            if (attention := attention_of(sublayer)) is not None:
                yield "cross" if name == "cross" else part, layer, attention


def _layers(network: Transformer) -> Iterator[tuple[str, int, Layer]]:
    for part, stack in (("encoder", network.encoder), ("decoder", network.decoder)):
        for number, layer in enumerate(stack.layers, start=1):
            yield part, number, cast(Layer, layer)


def _groups(network: Transformer) -> Iterator[tuple[Key, Sequence[nn.Parameter]]]:
    """Yield the parameters of which a gradient's norm is taken, with its name."""
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
    """Return the keys that are no padding and that a query may look at: a mask, broadcast to (B, H, Q, K)."""
    own = mask.dense(queries, keys)
    every = torch.ones(1, 1, 1, keys.shape[2], dtype=torch.bool, device=keys.device)
    return every if own is None else own.view(*[1] * (4 - own.dim()), *own.shape)


def _real_queries(attention: nn.Module, layout: Layout) -> Tensor:
    """Return which queries of the rectangle, (B, Q), or of the blocks of a band, (B*P, Q), are no padding."""
    if isinstance(attention, LocalAttention) and layout.max_seqlen > attention.max_square:
        return attention.band.query_blocks(layout.mask[:, None, :, None])[:, 0, :, 0]
    return layout.mask


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Switch dropout off, and restore every mode; cuDNN, which differentiates no LSTM in this mode, stays out."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
