"""Bring a study up to date, several cells at once: `python -m experiments launch --study S [--slots K] [--dry-run]`.

DVC decides what is stale. The data stage runs first; then every stale cell, each in a slot with its share of cores and
GPUs, as `dvc --wait-for-lock repro -s train@... evaluate@...`; then the ensembles of study.yaml are scored; the report
comes last. In a study with looks, every row gets the seeds of the first look, and a row whose verdict is open those of
the next one. In a study with `tune`, the trials of every cell follow, rung by rung, then the cell once more, at its
best value.

With --fuse K, up to K seeds of a variant are first trained as one fused model, with the same results but for rounding;
DVC then finds these trainings done. A variant that cannot be fused is trained seed by seed, and a line says why.

A cell that crashes or is killed is retried from its checkpoint; one with a mistake of the user is not. Either leaves
the others running, and the exit status is not 0 if any cell failed. Ctrl-C stops every cell at its next step, after a
checkpoint; the same command resumes. Cells that share GPUs, or a cluster (--address), run on Ray:
pip install -c constraints.txt -e '.[cluster]'. See docs/scale.md and docs/slurm.md.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.common import cli, machine
from experiments.common.io import only_writer
from experiments.config.cell import Cell, cells_of
from experiments.config.stages import files_of, outdated
from experiments.config.study import TUNING, Study, load_study
from experiments.config.trials import trials_of
from experiments.launching.attempts import LOG, Job
from experiments.launching.cells import RETRIES, CellsRun, run_cells
from experiments.launching.engines import INSTALL, Engine, needs_ray
from experiments.launching.engines.processes import ProcessEngine
from experiments.launching.fused import fused_groups, recording_job, training_job
from experiments.launching.looks import needed
from experiments.launching.progress import CellProgress
from experiments.launching.resources import Node, default_slots, gpu_count, share_of
from experiments.launching.signals import interrupt_on_signals
from experiments.launching.stages import Stages, every_stage, stale_cells
from experiments.launching.stale_locks import clear_stale_locks
from experiments.launching.tuning import next_trials
from lit_transformer.errors import UserError


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and bring the study up to date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, help="a folder of experiments/studies")
    parser.add_argument(
        "--slots", type=cli.at_least(1), help="cells at once (default: one per core, or one where a GPU is used)"
    )
    parser.add_argument("--runs-per-gpu", type=cli.at_least(1), metavar="K", help="cells at once on a GPU (default: 1)")
    parser.add_argument(
        "--fuse",
        type=cli.at_least(2),
        metavar="K",
        help="train up to K seeds of a variant as one (default: each alone)",
    )
    parser.add_argument("--address", help="address of a running Ray cluster: auto or HOST:6379")
    parser.add_argument("--engine", choices=("auto", "local", "ray"), default="auto", help="(default: Ray if needed)")
    parser.add_argument(
        "--retries", type=cli.at_least(0), default=RETRIES, help="further attempts at a cell that crashes (%(default)s)"
    )
    parser.add_argument("--dry-run", action="store_true", help="list the stale stages, write nothing")
    args = parser.parse_args(argv)
    launch(load_study(args.study), args)


def launch(study: Study, args: argparse.Namespace) -> None:
    """Run what is stale; say so where nothing is."""
    if args.dry_run and outdated(files := files_of(study)):
        _list_unwritten(study, files)
        return
    cli.announce(f"asking DVC which stages of {study.name} are stale")
    if gone := clear_stale_locks():
        print(f"DVC's locks of processes that are gone were cleared: {', '.join(map(str, gone))}")
    stages = Stages.of(study)
    ensembles, tuning = stages.of_ensembles(study), stages.of_tuning(study)
    ask = Stages.stale if args.dry_run else Stages.stale_after_checkout
    stale = needed(study, ask(stages))
    stale_ensembles = ask(ensembles) if ensembles else set()
    stale_tuning = needed(study, ask(tuning), tuned=True) if tuning else set()
    page = study.report_folder / "index.html"
    if not stale | stale_ensembles | stale_tuning:
        print(f"Nothing to do: every cell of {study.name} is up to date. The report: {page}")
    elif args.dry_run:
        _list(study, stale, stale_ensembles, stale_tuning)
    else:
        interrupt_on_signals()
        with only_writer(Path("runs") / study.name):
            _launch(study, args, stages, ensembles, tuning, stale)
        print(f"The page: {page.resolve()}")


def _list_unwritten(study: Study, files: Mapping[Path, str]) -> None:
    """List all stages of a study that DVC knows nothing of yet: a dry run does not write what DVC would read.

    Raises UserError where DVC knows of some, and the files of others are missing or out of date.
    """
    if any(path.exists() or path.with_name("dvc.lock").exists() for path in files):
        raise UserError(
            f"{outdated(files)[0]} is missing or out of date, and a dry run writes nothing; write it, "
            f"then run the same again: python -m experiments stages --study {study.name}"
        )
    stale, stale_ensembles, stale_tuning = every_stage(study)
    _list(study, needed(study, stale), stale_ensembles, needed(study, stale_tuning, tuned=True))


def _list(study: Study, stale: set[str], stale_ensembles: set[str], stale_tuning: set[str]) -> None:
    print(f"{study.name}: {_cells_to_run(study, len(stale_cells(study, stale)))}")
    if study.tune:
        from experiments.planning.tuning import tuning_cost

        trials = sum(trial.stage in stale_tuning for trial in trials_of(study))
        cells = len(stale_cells(study, stale_tuning, tuned=True))
        print(f"{study.name}: at most {trials} trials to run, and {_cells_to_run(study, cells)} at their best value")
        print(tuning_cost(study))
    print("\n".join([*sorted(stale | stale_ensembles), *(f"{TUNING}: {stage}" for stage in sorted(stale_tuning))]))
    if len(study.looks) > 1:
        from experiments.planning.looks import cell_count

        print(cell_count(study).sentence(study.looks))


def _launch(
    study: Study,
    args: argparse.Namespace,
    stages: Stages,
    ensembles: Stages | None,
    tuning: Stages | None,
    stale: set[str],
) -> None:
    gpus = 0 if args.address else gpu_count(study)
    on_ray = needs_ray(args.engine, args.address, gpus // study.devices, args.runs_per_gpu)
    if "prepare" in stale:
        stages.run("prepare")
        stale = needed(study, stages.stale())  # the same text prepared again leaves no cell stale
    attempted, failed = _run_looks(study, args, stages, stale, on_ray, gpus)
    failed_variants = {attempted[job].variant for job in failed}
    if tuning:
        tuned, failed_tuned = _run_tuned(study, args, tuning, on_ray, gpus)
        attempted, failed = {**attempted, **tuned}, {**failed, **failed_tuned}
    for job, reason in failed.items():
        print(f"FAILED {job.name}: {reason} (see {job.folder / LOG})")
    if ensembles:
        _score_ensembles(ensembles, failed_variants)
    try:
        stages.run("report")
    except UserError as error:
        if not failed:
            raise
        print(f"FAILED report: {error}")  # as where no cell has results
    if failed:
        what = "cells and trials" if tuning else "cells"
        raise UserError(
            f"{len(failed)} of {len(attempted)} {what} failed (see above); fix the cause and run the same again"
        )


def _run_looks(
    study: Study, args: argparse.Namespace, stages: Stages, stale: set[str], on_ray: bool, gpus: int
) -> tuple[dict[Job, Cell], dict[Job, str]]:
    """Run the stale cells, then further seeds while verdicts are open; return what was run, and what failed and why."""
    attempted: dict[Job, Cell] = {}
    failed: dict[Job, str] = {}
    while True:
        cells = {stages.job(cell): cell for cell in stale_cells(study, stale)}
        jobs = [job for job in cells if job not in attempted]
        if not jobs:
            return attempted, failed
        if attempted:
            rows = dict.fromkeys(cells[job].variant for job in jobs if cells[job].variant != study.baseline)
            print(f"Still open, so further seeds follow: {', '.join(rows)}")
        attempted |= cells
        if args.fuse and (groups := fused_groups([cells[job] for job in jobs], stale, args.fuse)):
            _run_fused(study, args, stages, groups, on_ray, gpus)
            left = stale_cells(study, needed(study, stages.stale()))
            jobs = [job for job in jobs if cells[job] in left]
        if jobs:
            failed |= _run_cells(jobs, study, args, on_ray, gpus, _cells_to_run(study, len(jobs))).failed
        if len(study.looks) > 1:
            stale = needed(study, stages.stale())


def _run_fused(
    study: Study, args: argparse.Namespace, stages: Stages, groups: list[list[Cell]], on_ray: bool, gpus: int
) -> None:
    """Train and score each group as one, and let DVC record its cells; whatever fails is left stale."""
    trained = {training_job(group): group for group in groups}
    to_run = f"{len(groups)} fused trainings, of {sum(map(len, groups))} cells, to run"
    failed = _run_cells(list(trained), study, args, on_ray, gpus, to_run).failed
    records = [recording_job(stages, group) for job, group in trained.items() if job not in failed]
    if records:
        failed |= _run_cells(records, study, args, on_ray, gpus, f"{len(records)} of them for DVC to record").failed
    for job, reason in failed.items():
        print(f"{job.name} failed, so one by one: {reason}")


def _run_tuned(
    study: Study, args: argparse.Namespace, stages: Stages, on_ray: bool, gpus: int
) -> tuple[dict[Job, Cell], dict[Job, str]]:
    """Run the trials that are due, rung by rung, then the cells at what these choose, and on while verdicts are open.

    Return what was run, trials by the cell that they are for, and what failed and why. A cell of which a trial failed
    is not run.
    """
    attempted: dict[Job, Cell] = {}
    failed: dict[Job, str] = {}
    while True:
        lost = {(attempted[job].variant, attempted[job].seed) for job in failed}
        stale = needed(study, stages.stale(), tuned=True)
        to_train, stopped = next_trials(study, stale, lost)
        if stopped:
            stages.run(*(trial.stage for trial in stopped))
        jobs = {stages.trial_job(trial): Cell(study, trial.variant, trial.seed, tuned=True) for trial in to_train}
        to_run = f"{len(jobs)} trials to run"
        if not to_train + stopped:
            cells = [cell for cell in stale_cells(study, stale, tuned=True) if (cell.variant, cell.seed) not in lost]
            jobs = {job: cell for cell in cells if (job := stages.job(cell)) not in attempted}
            to_run = f"{_cells_to_run(study, len(jobs))}, each at its best value"
            if not jobs:
                return attempted, failed
        attempted |= jobs
        if jobs:
            failed |= _run_cells(list(jobs), study, args, on_ray, gpus, to_run).failed


def _run_cells(
    jobs: list[Job], study: Study, args: argparse.Namespace, on_ray: bool, gpus: int, to_run: str
) -> CellsRun:
    engine = _ray_engine(study, args, gpus) if on_ray else _process_engine(study, args, gpus)
    try:
        interrupt_on_signals()  # once more: Ray has set handlers of its own
        print(f"{study.name}: {to_run}, {engine.slots} at once", flush=True)
        progress = CellProgress(jobs)
        result = run_cells(jobs, engine, progress, args.retries)
        progress.close()
    finally:
        engine.close()
    print(f"Slots were busy {100 * result.occupancy:.0f} % of the time ({result.available / 3600:.2f} slot-hours)")
    return result


def _cells_to_run(study: Study, number: int) -> str:
    most = "at most " if len(study.looks) > 1 else ""
    return f"{number} of {most}{len(cells_of(study))} cells to run"


def _process_engine(study: Study, args: argparse.Namespace, gpus: int) -> Engine:
    if gpus > study.devices:
        print(f"This machine has {gpus} GPUs, of which {study.devices} used; to use all: {INSTALL}")
    slots = args.slots or default_slots(study)
    return ProcessEngine(slots, share_of([Node(machine.cores())], slots=slots, devices=study.devices).threads)


def _ray_engine(study: Study, args: argparse.Namespace, gpus: int) -> Engine:
    from experiments.launching.engines.ray_tasks import RayEngine

    return RayEngine(study, args.address, Node(machine.cores(), gpus), args.runs_per_gpu, args.slots)


def _score_ensembles(ensembles: Stages, failed: set[str]) -> None:
    """Score the stale ensembles, but for variants of which a seed failed: theirs would have fewer models."""
    for stage in sorted(ensembles.stale()):
        if stage.rpartition("@")[2] not in failed:
            ensembles.run(stage)
