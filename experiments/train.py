"""Train one cell of a study: `python -m experiments.train --study S --variant V --seed K [key=value ...]`.

Reads data/<study>, writes runs/<study>/<variant>/seed<k>/ and, at the end, the cell's training.json, curve.csv and
probe.csv. Run the same command again after an interruption and it goes on from the last checkpoint; a run that is
complete and unchanged is not trained twice.
"""

import argparse
import math
import shutil
import sys
import warnings
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from experiments import cli, machine, tracking
from experiments.decoder import AVERAGED
from experiments.files import only_writer, read_json, replace, write_json, write_text
from experiments.rates import measured_rate
from experiments.run_config import Precision, RunConfig, to_dict, to_yaml, training_hash
from experiments.study import Cell
from lit_transformer.config import Positions
from lit_transformer.errors import UserError

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from data_modules.prepared import PreparedCorpus
    from experiments.averaging import Averager
    from experiments.callbacks import Curve, Divergence
    from lit_transformer import LitTransformer

PRECISIONS = {Precision.float32: "32-true", Precision.bfloat16: "bf16-mixed"}
OUTPUTS = ("training.json", "curve.csv", "probe.csv")


def main() -> None:
    """Parse the command line and train."""
    parser = cli.cell_parser(__doc__)
    parser.add_argument("--wandb", default="auto", help="auto (online if logged in), online, offline or disabled")
    parser.add_argument("--quiet", action="store_true", help="no progress bar; a line at each validation remains")
    args = parser.parse_args()
    cell = cli.parse_cell(args)
    with only_writer(cell.run_folder):
        train(cell, args)


def train(cell: Cell, args: argparse.Namespace) -> None:
    """Bring the cell to its last step, from wherever it stands, and publish what it found."""
    config = cell.config
    machine.set_up(config.trainer.matmul.value)
    machine.git_commit()  # of the code as loaded: the repository may move on while the run lasts
    from data_modules.prepared import PreparedCorpus

    corpus = PreparedCorpus.open(cell.study.data_folder)
    _check_fit(config, corpus, cell)
    run_hash = training_hash(config, corpus.hash, machine.code_hash())
    resume = _find_checkpoint(cell, run_hash)
    if resume and _is_complete(cell, run_hash):
        print(f"{cell.run_folder}: already trained with this config ({run_hash}); nothing to do")
    else:
        write_text(cell.run_folder / "config.yaml", f"# {run_hash}\n{to_yaml(config)}")
        _fit(cell, config, corpus, run_hash, resume, args)
    for name in OUTPUTS:
        replace(cell.results_folder / name, partial(shutil.copyfile, cell.run_folder / name))


def _fit(
    cell: Cell,
    config: RunConfig,
    corpus: "PreparedCorpus",
    run_hash: str,
    resume: Path | None,
    args: argparse.Namespace,
) -> None:
    import pytorch_lightning as pl

    from data_modules.corpora.text import VALID
    from data_modules.translation import TranslationDataModule
    from experiments.averaging import build_averager, write_average
    from experiments.callbacks import Checkpoint, Curve, Divergence, Progress
    from experiments.probe import Probe, probe_batch
    from lit_transformer import LitTransformer, build_transformer

    warnings.filterwarnings("ignore", module="pytorch_lightning|torch.optim.lr_scheduler")
    pl.seed_everything(config.seed, verbose=False)
    network = build_transformer(config.model, corpus.vocab_size)
    data = TranslationDataModule(corpus, config.data, config.seed)
    folder = cell.run_folder
    curve = Curve(folder / "curve.csv", lambda: data.batches_per_epoch() / config.optim.accumulate)
    averager = build_averager(config.optim.averaging, folder, curve.training_seconds)
    checkpoint, divergence = Checkpoint(folder, config.trainer.checkpoint_every, run_hash), Divergence()
    progress = Progress(folder, curve, config.optim.steps)
    probe = Probe(folder / "probe.csv", probe_batch(corpus.split(VALID)))
    callbacks = [probe, curve, *([averager] if averager else []), checkpoint, divergence, progress]
    trainer = _trainer(cell, config, run_hash, callbacks, args)
    if resume:
        data.position = _saved_step(resume) * config.optim.accumulate
        print(f"going on from {resume}, step {_saved_step(resume)} of {config.optim.steps}", flush=True)
    module = LitTransformer(network, config.optim, config.seed)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True if resume else None)
        if averager and divergence.step is None:
            write_average(averager, network, folder / AVERAGED, run_hash)
    except BaseException:
        tracking.finish(exit_code=1)
        raise
    record = _record(cell, config, corpus, run_hash, trainer, curve, divergence, averager)
    write_json(folder / "training.json", record)
    if averager:
        averager.leave()
    if trainer.logger:
        cost = ("parameters", "training_flops", "seconds", "target_tokens_per_second")
        trainer.logger.log_metrics({f"training/{key}": record[key] for key in cost})
    tracking.finish()
    print(_summary(record), flush=True)


def _trainer(
    cell: Cell, config: RunConfig, run_hash: str, callbacks: list["pl.Callback"], args: argparse.Namespace
) -> "pl.Trainer":
    import logging

    import pytorch_lightning as pl
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from pytorch_lightning.callbacks import LearningRateMonitor, TQDMProgressBar

    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    mode = tracking.wandb_mode(args.wandb)
    logger = mode != "disabled" and tracking.build_logger(
        project="lit_transformer",
        study=cell.study.name,
        variant=cell.label,
        seed=cell.seed,
        config={**to_dict(config), "corpus": cell.study.corpus, "run_hash": run_hash},
        config_hash=run_hash,
        folder=cell.run_folder,
        tags=[cell.study.name, cell.study.corpus.replace(":", "-")[:60]],
        mode=mode,
    )
    bar = sys.stderr.isatty() and not args.quiet
    shown: list[pl.Callback] = [LearningRateMonitor("step")] if logger else []
    if bar:
        shown.append(TQDMProgressBar(refresh_rate=10))
    return pl.Trainer(
        accelerator=config.trainer.accelerator,
        devices=config.trainer.devices,
        num_nodes=config.trainer.num_nodes,
        strategy=config.trainer.strategy,
        precision=PRECISIONS[config.trainer.precision],  # type: ignore[arg-type]
        max_steps=config.optim.steps,
        max_epochs=-1,
        accumulate_grad_batches=config.optim.accumulate,
        val_check_interval=config.trainer.validate_every * config.optim.accumulate,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=50,
        callbacks=[*callbacks, *shown],
        logger=logger,
        enable_checkpointing=False,
        enable_progress_bar=bar,
        enable_model_summary=False,
        use_distributed_sampler=False,
        plugins=[LightningEnvironment()],  # under a scheduler Lightning would take the run for one of the scheduler's
        default_root_dir=cell.run_folder,
    )


def _check_fit(config: RunConfig, corpus: "PreparedCorpus", cell: Cell) -> None:
    """Refuse now what evaluation would refuse after hours of training."""
    if not set(corpus.splits) - {"train", "valid"}:
        raise UserError(f"{cell.study.data_folder} has no test split beside train and valid; add one to the corpus")
    places = config.model.positions.max_length
    if config.model.positions.kind is not Positions.learned:
        return
    for name in corpus.splits:
        split = corpus.split(name)
        longest = int(max(split.source_lengths.max(), split.target_lengths.max()))
        if longest > places:
            raise UserError(
                f"{name} has a sentence of {longest} tokens, more than the {places} learned positions: raise "
                f"model.positions.max_length of variant {cell.variant}"
            )


def _find_checkpoint(cell: Cell, run_hash: str) -> Path | None:
    """Return the checkpoint to go on from; one of another config is moved aside with its whole folder, never used."""
    import torch

    from experiments.callbacks import CHECKPOINT

    path = cell.run_folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True).get("run_hash")
    except Exception as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__}); delete it to train afresh") from None
    if found == run_hash:
        return path
    aside = cell.run_folder.with_name(f"{cell.run_folder.name}.before")
    if aside.exists():
        shutil.rmtree(aside)
    aside.mkdir()
    for item in cell.run_folder.iterdir():
        if item.name not in (".lock", "log.txt"):
            item.rename(aside / item.name)
    print(f"{path} is of another config or code ({found}, now {run_hash}): moved to {aside}, training afresh")
    return None


def _is_complete(cell: Cell, run_hash: str) -> bool:
    path = cell.run_folder / "training.json"
    record = read_json(path) if path.is_file() else {}
    has_average = "averaging" not in record or (cell.run_folder / AVERAGED).is_file()
    return record.get("config_hash") == run_hash and has_average


def _saved_step(path: Path) -> int:
    import torch

    return int(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["global_step"])


def _record(
    cell: Cell,
    config: RunConfig,
    corpus: "PreparedCorpus",
    run_hash: str,
    trainer: "pl.Trainer",
    curve: "Curve",
    divergence: "Divergence",
    averager: "Averager | None",
) -> dict[str, Any]:
    import torch

    from lit_transformer.flops import active_parameter_count, training_flops
    from lit_transformer.training.objective import forward_passes

    work, last = curve.total_work(), curve.rows[-1] if curve.rows else {}
    network = cast("LitTransformer", trainer.lightning_module).network
    on_gpu = trainer.strategy.root_device.type == "cuda"
    device = torch.cuda.get_device_name(trainer.strategy.root_device) if on_gpu else "cpu"
    return {
        "study": cell.study.name,
        "corpus": cell.study.corpus,
        "variant": cell.label,
        "seed": cell.seed,
        "status": "finished" if divergence.step is None else "diverged",
        "diverged_at": divergence.step,
        "steps": trainer.global_step,
        "parameters": sum(p.numel() for p in network.parameters() if p.requires_grad),
        "active_parameters": active_parameter_count(config.model, corpus.vocab_size),
        "vocab_size": corpus.vocab_size,
        "training_flops": forward_passes(config.optim) * training_flops(config.model, corpus.vocab_size, work),
        "source_tokens": work.src,
        "target_tokens": work.tgt,
        "seconds": round(curve.seconds, 2),
        "target_tokens_per_second": round(work.tgt / max(curve.seconds, 1e-9), 1),
        "peak_memory_bytes": torch.cuda.max_memory_allocated() if on_gpu else machine.peak_memory(),
        "valid_loss": _finite(last.get("valid_loss")),
        "valid_ppl": _finite(last.get("valid_ppl")),
        "device": device,
        "precision": config.trainer.precision.value,
        "matmul": config.trainer.matmul.value,
        "data_hash": corpus.hash,
        "config_hash": run_hash,
        "code_hash": machine.code_hash(),
        **machine.describe(),
        "load": _finite(machine.load()),
        "matrix_flops_per_second": round(measured_rate(trainer.strategy.root_device, config.trainer.precision).flops),
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **({"averaging": averager.record()} if averager and divergence.step is None else {}),
    }


def _finite(value: float | None) -> float | None:
    """JSON knows no NaN: a loss that is none is null."""
    return value if value is not None and math.isfinite(value) else None


def _summary(record: dict[str, Any]) -> str:
    minutes, seconds = divmod(round(record["seconds"]), 60)
    if record["status"] == "diverged":
        return f"diverged at step {record['diverged_at']}: recorded as the result of this run"
    return (
        f"{record['study']}/{record['variant']} seed {record['seed']}: {record['steps']} steps in "
        f"{minutes}:{seconds:02d} min, {record['parameters']:,} parameters, valid ppl {record['valid_ppl']:.3f}"
    )


if __name__ == "__main__":
    cli.run(main)
