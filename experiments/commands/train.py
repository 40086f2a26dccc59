"""Train one cell of a study: `python -m experiments train --study S --variant V --seed K [key=value ...]`.

Reads data/<study>, writes runs/<study>/<variant>/seed<k>/ and, at the end, the cell's training.json, curve.csv and
probe.csv. Run the same command again after an interruption and it goes on from the last checkpoint; a run that is
complete and unchanged is not trained twice.
"""

import argparse
import shutil
import sys
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments.common import cli, machine
from experiments.common.io import only_writer, read_json, replace, write_json, write_text
from experiments.config.cell import Cell
from experiments.config.run_config import Precision, RunConfig, to_dict, to_yaml, training_hash
from experiments.scoring.inference import AVERAGED
from experiments.tracking import login as wandb_login
from experiments.tracking import wandb as tracking
from experiments.training.distributed import Processes
from experiments.training.record import summary, training_record
from lit_transformer.config import Positions
from lit_transformer.errors import UserError

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from data_modules.prepared import PreparedCorpus
    from data_modules.translation import TranslationDataModule
    from experiments.training.averaging import Averager
    from experiments.training.callbacks import Curve, History
    from experiments.training.checkpoints import Saved
    from experiments.training.losses import Losses
    from lit_transformer import LitTransformer

PRECISIONS = {Precision.float32: "32-true", Precision.bfloat16: "bf16-mixed"}
OUTPUTS = ("training.json", "curve.csv", "probe.csv")
COSTS = ("parameters", "training_flops", "seconds", "target_tokens_per_second")


def main() -> None:
    """Parse the command line and train."""
    parser = cli.cell_parser(__doc__)
    parser.add_argument("--wandb", default="auto", help="auto (online if logged in), online, offline or disabled")
    parser.add_argument("--quiet", action="store_true", help="no progress bar; a line at each validation remains")
    args = parser.parse_args()
    train(cli.parse_cell(args), args)


def train(cell: Cell, args: argparse.Namespace) -> None:
    """Bring the cell to its last step, from wherever it stands, and publish what it found."""
    processes = Processes.of(cell.config.trainer)
    try:
        with only_writer(cell.run_folder) if processes.first else nullcontext():
            _train(cell, args, processes)
    except UserError:
        if processes.first:
            raise  # the others stop for the same reason, and in silence


def _train(cell: Cell, args: argparse.Namespace, processes: Processes) -> None:
    config = cell.config
    machine.set_up(config.trainer.matmul.value)
    machine.git_commit()  # of the code as loaded: the repository may move on while the run lasts
    from data_modules.prepared import PreparedCorpus

    corpus = PreparedCorpus.open(cell.study.data_folder)
    run_hash = training_hash(config, corpus.hash, machine.code_hash())
    start = Start()
    if processes.first:
        _check_fit(config, corpus, cell)
        start = _where_to_start(cell, run_hash)
    if not start.complete or processes.others_wait:
        _fit(Run(cell, config, corpus, run_hash, args, processes), start)
    if processes.first:
        for name in OUTPUTS:
            replace(cell.results_folder / name, partial(shutil.copyfile, cell.run_folder / name))


class Start(NamedTuple):
    """Where a training takes up: the checkpoint and its step, or the end, or, without either, the beginning."""

    saved: "Saved | None" = None
    complete: bool = False


@dataclass(frozen=True)
class Run:
    """One training of a cell, from start to stop."""

    cell: Cell
    config: RunConfig
    corpus: "PreparedCorpus"
    run_hash: str
    args: argparse.Namespace
    processes: Processes


@dataclass(frozen=True)
class Training:
    """A run made ready: what is trained, on what, by whom, and what watches it."""

    module: "LitTransformer"
    data: "TranslationDataModule"
    trainer: "pl.Trainer"
    losses: "Losses"
    curve: "Curve"
    history: "History"
    averager: "Averager | None"


def _ready(run: Run) -> Training:
    """Build the network and all that goes with it, the same for every process of the run."""
    import pytorch_lightning as pl

    from data_modules.corpora.text import VALID
    from data_modules.translation import TranslationDataModule
    from experiments.training.averaging import build_averager
    from experiments.training.callbacks import Curve, History, Progress
    from experiments.training.losses import Losses
    from experiments.training.probe import Probe, probe_batch
    from experiments.training.stopping import CheckpointWriter
    from lit_transformer import LitTransformer, build_transformer
    from lit_transformer.training.compiling import compile_network

    config, corpus, folder = run.config, run.corpus, run.cell.run_folder
    pl.seed_everything(config.seed, verbose=False)
    network = build_transformer(config.model, corpus.vocab_size)
    if config.trainer.compile:
        compile_network(network)
    module = LitTransformer(network, config.optim, config.seed)
    data = TranslationDataModule(corpus, config.data, config.seed, config.optim.accumulate)
    losses = Losses()
    curve = Curve(folder / "curve.csv", losses, lambda: data.batches_per_epoch() / config.optim.accumulate)
    history = History(losses)
    averager = build_averager(config.optim.averaging, folder, curve.training_seconds)
    checkpoint = CheckpointWriter(folder, config.trainer.checkpoint_every, run.run_hash)
    probe = Probe(folder / "probe.csv", probe_batch(corpus.split(VALID)), history.add)
    callbacks = [losses, probe, curve, history, *([averager] if averager else []), checkpoint]
    trainer = _trainer(run, [*callbacks, Progress(folder, curve, config.optim.steps)])
    return Training(module, data, trainer, losses, curve, history, averager)


def _fit(run: Run, start: Start) -> None:
    """Train from where `start` says to the end, and leave the record; the processes of a run do so together."""
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric|torch.optim.lr_scheduler")
    training = _ready(run)
    run.processes.start(training.trainer)
    start = training.trainer.strategy.broadcast(start)
    if start.complete:
        return
    if start.saved:
        training.data.position = start.saved.step * run.config.optim.accumulate
    try:
        training.history.run = _tracked(run)
        saved = start.saved.path if start.saved else None
        with run.processes.together():
            training.trainer.fit(training.module, datamodule=training.data, ckpt_path=saved, weights_only=True)
        if not run.processes.first:
            return
        record = _result(run, training)
    except BaseException:
        tracking.finish(exit_code=1)
        raise
    tracking.finish()
    # Last: a run that is killed before is not complete, and does all this again.
    write_json(run.cell.run_folder / "training.json", record)
    if training.averager:
        training.averager.leave()
    print(summary(record), flush=True)


def _result(run: Run, training: Training) -> dict[str, Any]:
    """Keep the average of the weights, if one is made, and return the record of the training."""
    from experiments.training.averaging import write_average

    averager, losses = training.averager, training.losses
    if averager and losses.diverged_at is None:
        write_average(averager, training.module.network, run.cell.run_folder / AVERAGED, run.run_hash)
    record = training_record(
        run.cell, run.config, run.corpus, run.run_hash, training.trainer, training.curve, losses, averager
    )
    training.history.add({f"training/{key}": record[key] for key in COSTS})
    return record


def _tracked(run: Run) -> "tracking.SafeRun | None":
    """Open the run on W&B, unless that is not wanted or another process does."""
    mode = wandb_login.wandb_mode(run.args.wandb) if run.processes.first else "disabled"
    if mode == "disabled":
        return None
    cell = run.cell
    return tracking.start_training(
        project="lit_transformer",
        study=cell.study.name,
        variant=cell.label,
        seed=cell.seed,
        config={**to_dict(run.config), "corpus": cell.study.corpus, "run_hash": run.run_hash},
        config_hash=run.run_hash,
        folder=cell.run_folder,
        tags=[cell.study.name, cell.study.corpus.replace(":", "-")[:60]],
        mode=mode,
    )


def _trainer(run: Run, callbacks: list["pl.Callback"]) -> "pl.Trainer":
    import logging

    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import TQDMProgressBar

    from experiments.training.checkpoints import SealedCheckpoints

    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    config = run.config
    bar = run.processes.first and sys.stderr.isatty() and not run.args.quiet
    return pl.Trainer(
        accelerator=config.trainer.accelerator,
        devices=config.trainer.devices,
        num_nodes=config.trainer.num_nodes,
        strategy=run.processes.strategy(config.trainer.strategy),
        precision=PRECISIONS[config.trainer.precision],  # type: ignore[arg-type]
        max_steps=config.optim.steps,
        max_epochs=-1,
        accumulate_grad_batches=config.optim.accumulate,
        val_check_interval=config.trainer.validate_every * config.optim.accumulate,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        callbacks=[*callbacks, *([TQDMProgressBar(refresh_rate=10)] if bar else [])],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=bar,
        enable_model_summary=False,
        use_distributed_sampler=False,
        plugins=[run.processes.environment, SealedCheckpoints()],
        default_root_dir=run.cell.run_folder,
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


def _where_to_start(cell: Cell, run_hash: str) -> Start:
    """Look for what earlier starts have left, and say so; a training about to happen writes its config."""
    from experiments.training.checkpoints import newest

    saved = newest(cell.run_folder, run_hash)
    if saved and _is_complete(cell, run_hash, saved.step):
        print(f"{cell.run_folder}: already trained with this config ({run_hash}); nothing to do")
        return Start(saved, complete=True)
    (cell.run_folder / "training.json").unlink(missing_ok=True)  # of a training that came further; it is not there yet
    write_text(cell.run_folder / "config.yaml", f"# {run_hash}\n{to_yaml(cell.config)}")
    if saved:
        print(f"going on from {saved.path}, step {saved.step} of {cell.config.optim.steps}", flush=True)
    return Start(saved)


def _is_complete(cell: Cell, run_hash: str, step: int) -> bool:
    path = cell.run_folder / "training.json"
    record = read_json(path) if path.is_file() else {}
    has_average = "averaging" not in record or (cell.run_folder / AVERAGED).is_file()
    return record.get("config_hash") == run_hash and record["steps"] == step and has_average
