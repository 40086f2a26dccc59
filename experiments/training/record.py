"""What a training leaves in training.json: what it cost, what it reached, and where it was made."""

import math
from datetime import UTC, datetime
from typing import Any, cast

import pytorch_lightning as pl
import torch

from data_modules.prepared import PreparedCorpus
from experiments.common import machine
from experiments.config.cell import Cell
from experiments.config.run_config import RunConfig
from experiments.training.averaging import Averager
from experiments.training.callbacks import Curve
from experiments.training.losses import Losses
from experiments.training.throughput import matrix_rate
from lit_transformer.flops import active_parameter_count, parameter_count, training_flops
from lit_transformer.module import LitTransformer
from lit_transformer.training.objective import forward_passes


def training_record(
    cell: Cell,
    config: RunConfig,
    corpus: PreparedCorpus,
    config_hash: str,
    run_hash: str,
    trainer: pl.Trainer,
    curve: Curve,
    losses: Losses,
    averager: Averager | None,
) -> dict[str, Any]:
    """Return training.json: what a training was, what it cost and how it ended; times in seconds, memory in bytes."""
    work, last = curve.total_work(), curve.rows[-1] if curve.rows else {}
    network = cast(LitTransformer, trainer.lightning_module).network
    on_gpu = trainer.strategy.root_device.type == "cuda"
    device = torch.cuda.get_device_name(trainer.strategy.root_device) if on_gpu else "cpu"
    return {
        "study": cell.study.name,
        "corpus": cell.study.corpus,
        "variant": cell.label,
        "seed": cell.seed,
        "status": "finished" if losses.diverged_at is None else "diverged",
        "diverged_at": losses.diverged_at,
        "steps": trainer.global_step,
        "parameters": parameter_count(network),
        "active_parameters": active_parameter_count(network),
        "vocab_size": corpus.vocab_size,
        "training_flops": forward_passes(config.optim) * training_flops(network, work),
        "source_tokens": work.src,
        "target_tokens": work.tgt,
        "seconds": round(curve.seconds, 2),
        "target_tokens_per_second": round(work.tgt / max(curve.seconds, 1e-9), 1),
        "peak_memory_bytes": torch.cuda.max_memory_allocated() if on_gpu else machine.peak_memory(),
        "valid_loss": _finite(last.get("valid_loss")),
        "valid_ppl": _finite(last.get("valid_ppl")),
        "device": device,
        "devices": trainer.world_size,
        "precision": config.trainer.precision.value,
        "matmul": config.trainer.matmul.value,
        "data_hash": corpus.hash,
        **({"corpus_revision": corpus.revision} if corpus.revision else {}),
        "config_hash": config_hash,
        "run_hash": run_hash,
        "code_hash": machine.code_hash(),
        **machine.describe(),
        "load": _finite(machine.load()),
        "matrix_flops_per_second": round(
            matrix_rate(trainer.strategy.root_device, config.trainer.precision.value).flops
        ),
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **({"averaging": averager.record()} if averager and losses.diverged_at is None else {}),
    }


def _finite(value: float | None) -> float | None:
    """JSON knows no NaN: a loss that is none is null."""
    return value if value is not None and math.isfinite(value) else None


def summary(record: dict[str, Any]) -> str:
    """Say in a line how a training ended, from its record."""
    minutes, seconds = divmod(round(record["seconds"]), 60)
    if record["status"] == "diverged":
        return f"diverged at step {record['diverged_at']}: recorded as the result of this run"
    return (
        f"{record['study']}/{record['variant']} seed {record['seed']}: {record['steps']} steps in "
        f"{minutes}:{seconds:02d} min, {record['parameters']:,} parameters, valid ppl {record['valid_ppl']:.3f}"
    )
