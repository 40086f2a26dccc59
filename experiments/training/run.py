"""One training of a cell: from its resume point to its last step, and the outputs that DVC keeps of it."""

import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl

from data_modules.corpora.text import VALID
from data_modules.prepared import PreparedCorpus
from data_modules.translation import TranslationDataModule
from experiments.common import machine
from experiments.common.io import replace_folder, write_json, write_text
from experiments.config.bleu_tokenizer import bleu_tokenizer, check_finds_words
from experiments.config.cell import Cell
from experiments.config.run_config import Precision, RunConfig, config_hash, to_yaml
from experiments.tracking import login
from experiments.tracking import wandb as tracking
from experiments.tracking.identity import files_folder, identity_of, page_config
from experiments.training.averaging import Averager, build_averager
from experiments.training.callbacks import Curve, FinalValidation, History, Progress
from experiments.training.checkpoints import Checkpoint, CheckpointFiles, newest
from experiments.training.distributed import Processes
from experiments.training.loggers import open_loggers
from experiments.training.losses import Losses
from experiments.training.outputs import (
    CURVE,
    DIGESTS,
    MODEL,
    PROBE,
    RECORD,
    digests_of,
    is_finished,
    only_writer_of,
    run_hash_of,
    write_outputs,
)
from experiments.training.probe import Probe, probe_batch
from experiments.training.record import summary, training_record
from experiments.training.stopping import CheckpointWriter
from experiments.training.throughput import Throughput
from lit_transformer.config import Positions
from lit_transformer.errors import UserError
from lit_transformer.export import save_exported
from lit_transformer.module import LitTransformer
from lit_transformer.training.compiling import CompiledHidden
from lit_transformer.transformer import Transformer, build_transformer

PRECISIONS = {Precision.float32: "32-true", Precision.bfloat16: "bf16-mixed"}
COSTS = ("parameters", "training_flops", "seconds", "target_tokens_per_second")


@dataclass(frozen=True)
class Options:
    """What the command line says beside the cell. `wandb`: auto, online, offline or disabled."""

    wandb: str = "auto"
    quiet: bool = False


class ResumePoint(NamedTuple):
    """A checkpoint, complete, or from scratch."""

    checkpoint: Checkpoint | None = None
    complete: bool = False


@dataclass(frozen=True)
class Run:
    """One training of a cell. `run_hash` is of its config, its data and the code that trains it."""

    cell: Cell
    config: RunConfig
    corpus: PreparedCorpus
    config_hash: str
    run_hash: str
    options: Options
    processes: Processes

    @property
    def folder(self) -> Path:
        return self.cell.run_folder


@dataclass(frozen=True)
class Training:
    """A run made ready: the module, its data, and the callbacks of its own, in their order."""

    module: LitTransformer
    data: TranslationDataModule
    callbacks: list[pl.Callback]
    probe: Probe
    losses: Losses
    curve: Curve
    history: History
    averager: Averager | None


def train(cell: Cell, options: Options) -> None:
    """Bring a cell to its last step, from wherever it stands, and write its outputs.

    The processes of a run on several devices call this together. Raises UserError for what the user can mend, and once
    only: the other ranks stop in silence.
    """
    processes = Processes.of(cell.config.trainer)
    try:
        with ExitStack() as locks:
            if processes.first:
                only_writer_of(cell, locks)
            run = set_up(cell, options, processes)
            start = _begin_or_resume(run) if processes.first else ResumePoint()
            if not start.complete or processes.others_wait:
                _fit(run, start)
            if processes.first:
                write_outputs(cell)
    except UserError:
        if processes.first:
            raise


def set_up(cell: Cell, options: Options, processes: Processes) -> Run:
    """Set the machine up for a cell and return its run."""
    config = cell.config
    machine.set_up(config.trainer.matmul.value)
    machine.git_commit()  # of the code as loaded: the repository may move on while the run lasts
    corpus = PreparedCorpus.open(cell.study.data_folder)
    own_hash = config_hash(config, corpus.hash)
    return Run(cell, config, corpus, own_hash, run_hash_of(own_hash), options, processes)


def _begin_or_resume(run: Run) -> ResumePoint:
    """Find where a training stands, and say so; one about to happen writes its config."""
    start = resume_point(run)
    if start.complete:
        return start
    begin(run)
    if saved := start.checkpoint:
        print(f"resuming from {saved.path}, step {saved.step} of {run.config.optim.steps}", flush=True)
    return start


def begin(run: Run) -> None:
    """Remove the record of a training that came further, whose copies stay, and write the config of the new one."""
    for name in (DIGESTS, RECORD):
        (run.folder / name).unlink(missing_ok=True)
    write_text(run.folder / "config.yaml", f"# {run.run_hash}\n{to_yaml(run.config)}")


def resume_point(run: Run) -> ResumePoint:
    """Check that a run fits its corpus, and find what earlier starts have left."""
    check_fit(run)
    checkpoint = newest(run.folder, run.run_hash)  # first, since it takes back what another run had moved aside
    return ResumePoint(checkpoint, complete=is_finished(run.cell, run.run_hash))


def check_fit(run: Run) -> None:
    """Refuse now what evaluation would refuse after hours of training."""
    if not run.corpus.test_splits:
        raise UserError(f"{run.cell.study.data_folder} has no test split beside train and valid; add one to the corpus")
    tokenizer, language = run.config.decode.bleu_tokenizer, run.corpus.target
    bleu_tokenizer(tokenizer, language)  # raises where it is not installed
    for name in run.corpus.test_splits:
        check_finds_words(tokenizer, language, run.corpus.split(name).target_text)
    positions = run.config.model.positions
    if positions.kind is not Positions.learned:
        return
    for name in run.corpus.splits:
        split = run.corpus.split(name)
        longest = int(max(split.source_lengths.max(), split.target_lengths.max()))
        if longest > positions.max_length:
            raise UserError(
                f"{name} has a sentence of {longest} tokens, more than the {positions.max_length} learned positions: "
                f"raise model.positions.max_length of variant {run.cell.variant}"
            )


def _fit(run: Run, start: ResumePoint) -> None:
    """Train to the end and leave the record and the model in the run folder; the processes of a run do so together."""
    training = build(run)
    progress = Progress(run.folder, training.curve, run.config.optim.steps)
    writer = CheckpointWriter(run.folder, run.config.trainer.checkpoint_every, run.run_hash)
    trainer = build_trainer(run, [*training.callbacks, FinalValidation(), writer, progress])
    run.processes.start(trainer)
    start = trainer.strategy.broadcast(start)
    if start.complete:
        return
    path = start.checkpoint.path if start.checkpoint else None
    with logged(run, training.history):
        with run.processes.together():
            trainer.fit(training.module, datamodule=training.data, ckpt_path=path, weights_only=True)
        record = finish(run, training, trainer) if run.processes.first else None
    if record:
        write_record(run, record)
        if training.averager:
            training.averager.leave()
        print(summary(record), flush=True)


def build(run: Run) -> Training:
    """Build the network, its data and its callbacks, the same for every process of the run."""
    config, corpus, folder = run.config, run.corpus, run.folder
    data = TranslationDataModule(corpus, config.data, config.seed, endless=True)
    pl.seed_everything(config.seed, verbose=False)
    network = build_transformer(config.model, corpus.vocab_size)
    hidden = CompiledHidden() if config.trainer.compile else Transformer.hidden
    module = LitTransformer(network, config.optim, config.seed, hidden)
    losses = Losses()
    steps_per_epoch = cache(lambda: data.batches_per_epoch() / config.optim.accumulate)  # plans an epoch
    curve = Curve(folder / CURVE, losses, steps_per_epoch)
    probe = Probe(folder / PROBE, probe_batch(corpus.split(VALID)))
    throughput = Throughput(curve, probe, config)
    history = History(losses, throughput.values)
    if config.tracking.probes:
        probe.log_row = history.add
    averager = build_averager(config.optim.averaging, folder, curve.training_seconds)
    callbacks = [losses, probe, curve, throughput, history, *([averager] if averager else [])]
    return Training(module, data, callbacks, probe, losses, curve, history, averager)


def build_trainer(run: Run, callbacks: list[pl.Callback]) -> pl.Trainer:
    """Build the Trainer of the config, which warns of nothing."""
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric|torch.optim.lr_scheduler")
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    config = run.config
    progress_bar = run.processes.first and sys.stderr.isatty() and not run.options.quiet
    if progress_bar:
        callbacks.append(pl.callbacks.TQDMProgressBar(refresh_rate=10))
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
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=progress_bar,
        enable_model_summary=False,
        use_distributed_sampler=False,
        plugins=[run.processes.environment, CheckpointFiles()],
        default_root_dir=run.folder,
    )


@contextmanager
def logged(run: Run, history: History) -> Iterator[None]:
    """Let a history have its loggers, and its run on W&B, unless that is not wanted or another process does."""
    loggers = open_loggers(run.config.tracking.loggers, run.folder) if run.processes.first else []
    try:
        history.outputs = [*loggers, *_tracked(run)]
        yield
    except BaseException:
        tracking.finish(exit_code=1)
        raise
    else:
        tracking.finish()
    finally:
        for logger in loggers:
            logger.close()


def _tracked(run: Run) -> list[tracking.SafeRun]:
    """Open the run on W&B and return it where it is open."""
    mode = login.wandb_mode(run.options.wandb) if run.processes.first else "disabled"
    if mode == "disabled":
        return []
    identity = identity_of(run.cell, run.run_hash)
    config = page_config(run.cell, identity, run.corpus.hash)
    opened = tracking.start_training(identity, config, files_folder(run.folder), mode)
    return [opened] if opened else []


def finish(run: Run, training: Training, trainer: pl.Trainer) -> dict[str, Any]:
    """Write the model into the run folder, none for a diverged training, and return the record."""
    record = training_record(
        run.cell, run.config, run.corpus, run.config_hash, run.run_hash, trainer, training.curve,
        training.losses, training.averager,
    )  # fmt: skip
    with replace_folder(run.folder / MODEL) as folder:
        if record["status"] == "diverged":
            write_json(folder / "diverged.json", {"diverged_at": record["diverged_at"]})
        else:
            _write_model(folder, training, record)
    training.history.add({f"training/{key}": record[key] for key in COSTS})
    return record


def write_record(run: Run, record: Mapping[str, Any]) -> None:
    """Write the record and, last, the digests of all files: a run that is killed before does all this again."""
    write_json(run.folder / RECORD, record)
    write_json(run.folder / DIGESTS, digests_of(run.folder))


def _write_model(folder: Path, training: Training, record: Mapping[str, Any]) -> None:
    """Write the weights of the last step and, in averaged/, their average."""
    keys = ("study", "variant", "seed", "steps", "corpus", "data_hash", "config_hash", "code_hash", "git_commit")
    provenance = {key: record[key] for key in keys}
    network = training.module.network
    save_exported(network, folder, provenance | {"weights": "last"})
    if training.averager:
        network.load_state_dict(training.averager.average(network))  # over the last weights, which are written
        averaged = folder / "averaged"
        averaged.mkdir()
        save_exported(network, averaged, provenance | {"weights": "averaged"})
