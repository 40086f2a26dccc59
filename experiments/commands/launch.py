"""Run a study's stale cells several at once: `python -m experiments launch --study S [--slots K] [--dry-run]`.

DVC says what is stale; the data stage runs once; then slots take the cells one by one, each with its share of the cores
and GPUs, as `dvc --wait-for-lock repro -s train@... evaluate@...`; then the variants that study.yaml names under
`ensembles` are scored, all seeds as one model; the report comes last.

A cell that crashes or is killed is tried again from its checkpoint, one that a user's mistake stops is not; either
leaves the others running, and the exit status is not 0 while any cell has failed. Ctrl-C stops every cell at its next
step; the same command goes on from there. Cells that use GPUs together, or a cluster (--address), run by Ray:
pip install -c constraints.txt -e '.[cluster]'; docs/scale.md and docs/slurm.md tell more.
"""

import argparse

from experiments.common import cli, machine
from experiments.config.study import Study, load_study
from experiments.launching.attempts import LOG, Job
from experiments.launching.board import Board
from experiments.launching.cells import Outcome, run_cells
from experiments.launching.engine import INSTALL, Engine, needs_ray
from experiments.launching.jobs import RETRIES, job_of, stale_cells
from experiments.launching.local import LocalEngine, default_slots, gpus_here
from experiments.launching.pipeline import Pipeline
from experiments.launching.signals import stop_as_on_ctrl_c
from experiments.launching.slots import AUTO, Node, share_of
from lit_transformer.errors import UserError


def main() -> None:
    """Parse the command line and bring the study up to date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, help="a folder of experiments/studies")
    parser.add_argument(
        "--slots", type=cli.at_least(1), help="cells at once (default: one a core; one where a GPU is used)"
    )
    parser.add_argument("--runs-per-gpu", type=_runs, metavar="K", help="cells at once on a GPU, or auto (default: 1)")
    parser.add_argument("--address", help="a Ray cluster that runs: auto or HOST:6379")
    parser.add_argument("--engine", choices=("auto", "local", "ray"), default="auto", help="(default: Ray if needed)")
    parser.add_argument(
        "--retries", type=cli.at_least(0), default=RETRIES, help="further tries at a cell that crashes (%(default)s)"
    )
    parser.add_argument("--dry-run", action="store_true", help="name the stale stages and stop")
    args = parser.parse_args()
    study = load_study(args.study)
    launch(study, args)


def launch(study: Study, args: argparse.Namespace) -> None:
    """Run what is stale; say so where nothing is."""
    pipeline = Pipeline.of(study)
    gpus = 0 if args.address else gpus_here(study)
    on_ray = needs_ray(args.engine, args.address, gpus // study.devices, args.runs_per_gpu)
    stale, joint = pipeline.stale(), pipeline.joint(study)
    page = study.report_folder / "index.html"
    stop_as_on_ctrl_c()
    if "prepare" in stale and not args.dry_run:
        pipeline.call("prepare")
        stale = pipeline.stale()  # the same text again makes no cell stale
    if not (stale or (joint and joint.stale())):
        print(f"Nothing to do: every cell of {study.name} is up to date. The report: {page}")
        return
    cells = stale_cells(study, pipeline, stale)
    counted = f"{study.name}: {len(cells)} of {len(study.cells())} cells to run"
    if args.dry_run:
        print("\n".join([counted, *sorted(stale | (joint.stale() if joint else set()))]))
        return
    jobs = {job_of(cell, pipeline): cell for cell in cells}
    outcome = _run(list(jobs), study, args, on_ray, gpus, counted) if jobs else Outcome()
    for job, reason in outcome.failed.items():
        print(f"FAILED {job.name}: {reason} (see {job.folder / LOG})")
    if joint:
        _join_seeds(joint, {jobs[job].variant for job in outcome.failed})
    pipeline.call("report")
    print(f"The page: {page.resolve()}")
    if outcome.failed:
        raise UserError(
            f"{len(outcome.failed)} of {len(cells)} cells failed, as said above; mend it and run the same again"
        )


def _run(jobs: list[Job], study: Study, args: argparse.Namespace, on_ray: bool, gpus: int, counted: str) -> Outcome:
    engine = _ray(study, args, gpus) if on_ray else _local(study, args, gpus)
    try:
        stop_as_on_ctrl_c()  # once more: Ray has set handlers of its own
        print(f"{counted}, {engine.slots} at once", flush=True)
        board = Board(jobs)
        outcome = run_cells(jobs, engine, board, args.retries)
        board.close()
    finally:
        engine.close()
    print(
        f"The slots were busy {100 * outcome.occupancy:.0f} % of their time ({outcome.offered / 3600:.2f} slot-hours)"
    )
    return outcome


def _local(study: Study, args: argparse.Namespace, gpus: int) -> Engine:
    if gpus > study.devices:
        print(f"{gpus} GPUs are here and {study.devices} used; to use all: {INSTALL}")
    slots = args.slots or default_slots(study)
    return LocalEngine(slots, share_of([Node(machine.cores())], slots=slots, devices=study.devices).threads)


def _ray(study: Study, args: argparse.Namespace, gpus: int) -> Engine:
    from experiments.launching.ray_engine import RayEngine

    return RayEngine(study, args.address, Node(machine.cores(), gpus), args.runs_per_gpu, args.slots)


def _join_seeds(joint: Pipeline, failed: set[str]) -> None:
    """Score the stale ensembles, but for variants of which a seed failed: theirs would be of fewer models."""
    for stage in sorted(joint.stale()):
        if stage.rpartition("@")[2] not in failed:
            joint.call(stage)


def _runs(text: str) -> int | str:
    return text if text == AUTO else cli.at_least(1)(text)
