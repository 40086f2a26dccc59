"""Perplexity per training step, and seconds to a perplexity, beside torch.nn.Transformer, Hugging Face, x-transformers.

    python -m benchmarks.learning
    python -m benchmarks.learning --seeds 2 --out learning.json --resume
    python -m benchmarks.learning --size small --steps 350 --peak 0.002
    python -m benchmarks.learning --study table3_multi30k --only torch.nn.Transformer
    python -m benchmarks.learning --ours model.norm.eps=1e-5 --ours model.attention.dropout=0.1 optim.warmup=70

Every system trains from its own initial values on the study's prepared corpus: the same batches in the same order per
seed, the same schedule, clipping, label smoothing and dropout, in a process of its own. Ours is there twice, with the
paper's recipe and with `model.initialisation: xavier_fused_qkv`; each `--ours` adds the latter with further changes.
Perplexity is of the whole validation split, without label smoothing; seconds are those of training steps. The matrix
products of ours are the study's (`trainer.matmul`), those of the others torch's default.

With --out every finished training is written at once; with --resume those of the file are kept, and only what is
missing is trained: seeds, systems and changes can be added.
"""

import argparse
import math
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.rounds import show
from benchmarks.sizes import SIZES
from experiments.common import cli, machine
from experiments.common import io as files
from experiments.config.run_config import RunConfig, flatten, resolve, to_dict
from experiments.config.study import Study, load_study
from lit_transformer.errors import UserError

if TYPE_CHECKING:  # which load torch, after a process was set up for its system
    from benchmarks.learners import Learner
    from benchmarks.trainers import Task
    from data_modules.prepared import Split

OURS, FUSED = "lit_transformer", "lit_transformer, fused Xavier"
PEERS = ("torch.nn.Transformer", "Hugging Face Marian", "x-transformers")
INITIALISATION = "model.initialisation=xavier_fused_qkv"
FIXED = ("optim.steps", "optim.accumulate", "optim.averaging")
"""What a change of ours may not touch, though it is of the optimiser."""
MARGIN = 1.01
"""Ours is as good as the best peer up to this ratio of perplexities."""
DISTANCE = 1.1
"""Seconds are counted to this many times the lowest final perplexity."""
Curve = list[tuple[int, float, float]]
"""Step, perplexity and training seconds at each validation."""


class Contestant(NamedTuple):
    """A row of the table: its name, its system in `benchmarks.learners`, and its settings."""

    name: str
    system: str
    config: RunConfig


def main() -> None:
    """Parse the command line and run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="components", help="whose corpus, batches and schedule (components)")
    parser.add_argument("--size", choices=list(SIZES), default="tiny", help="tiny: width 128, two layers")
    parser.add_argument("--steps", type=cli.at_least(1), help="optimiser steps (the study's)")
    parser.add_argument("--every", type=cli.at_least(1), help="steps between validations (the study's)")
    parser.add_argument("--peak", type=float, help="highest learning rate (the study's)")
    parser.add_argument("--warmup", type=cli.at_least(0), help="steps of warm-up (the study's)")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--seeds", type=cli.at_least(1), default=3, help="seeds 0 to one below (3)")
    parser.add_argument("--only", nargs="*", choices=(OURS, FUSED, *PEERS), help="only these systems")
    parser.add_argument(
        "--ours", nargs="+", action="append", default=[], metavar="key=value", help="add ours with these changes"
    )
    parser.add_argument("--threads", type=cli.at_least(1), default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--out", type=cli.user_path, help="write the trainings and the machine as JSON, each as it finishes"
    )
    parser.add_argument("--resume", action="store_true", help="keep the trainings of --out")
    compare(parser.parse_args())


def compare(args: argparse.Namespace) -> None:
    """Train what is missing, seed by seed, and print the table."""
    study = load_study(args.study)
    systems = contestants(study, args)
    record = _begin(args, configure(study, args))
    done = {(training["contestant"], training["seed"]) for training in record["trainings"]}
    missing = [(own, seed) for seed in range(args.seeds) for own in systems if (own.name, seed) not in done]
    for contestant, seed in missing:
        load = machine.load()
        try:
            curve = _in_own_process(contestant, seed, study.data_folder, args)
        except ImportError as error:
            print(f"{contestant.name} is left out: it needs the package {error.name}; `make bench` installs it")
            continue
        training = {"contestant": contestant.name, "seed": seed, "curve": curve}
        record["trainings"].append(training | {"load_before": load, "git_commit": machine.git_commit()})
        print(f"seed {seed}, {contestant.name}: perplexity {curve[-1][1]:.3f} in {curve[-1][2]:.0f} s", flush=True)
        if args.out is not None:
            files.write_json(args.out, record)
    print_table(record)


def configure(study: Study, args: argparse.Namespace, *changes: str) -> RunConfig:
    """Return the study's base at the benchmark's size, with the options of the command line, then changes."""
    given = {"steps": args.steps, "peak": args.peak, "warmup": args.warmup}
    options = [f"optim.{key}={value}" for key, value in given.items() if value is not None]
    options += [f"trainer.validate_every={args.every}"] if args.every is not None else []
    size = {"model": to_dict(SIZES[args.size])}
    return resolve([study.base, size], [*options, *changes], where="command line")


def contestants(study: Study, args: argparse.Namespace) -> list[Contestant]:
    """Return ours with its two laws, the peers, and ours with each of the changes of the command line."""
    base = configure(study, args)
    systems = [Contestant(OURS, OURS, base), Contestant(FUSED, OURS, configure(study, args, INITIALISATION))]
    systems += [Contestant(name, name, base) for name in PEERS]
    systems = [own for own in systems if args.only is None or own.name in args.only]
    for changes in args.ours:
        changed = configure(study, args, INITIALISATION, *changes)
        _check(changes, base, changed)
        systems.append(Contestant(f"{FUSED}, {' '.join(changes)}", OURS, changed))
    if not systems:
        raise UserError("--only names no system and --ours no change; there is nothing to train")
    return systems


def learn(contestant: Contestant, seed: int, data_folder: Path, args: argparse.Namespace) -> Curve:
    """Train one contestant from one seed; return its curve. Raises ImportError where a peer's package is missing."""
    config = contestant.config
    if contestant.system == OURS:
        machine.set_up(config.trainer.matmul.value)
    import torch

    from benchmarks.learners import build
    from benchmarks.trainers import Stepper, Task
    from data_modules.batches import TokenBatchSampler, plan_evaluation
    from experiments.common.device_rates import clock

    torch.set_num_threads(args.threads)
    train, valid, vocab_size = _corpus(data_folder)
    task = Task(config.model, vocab_size, args.precision == "bfloat16", args.device, config.optim)
    learner = build(contestant.system, task, seed)
    stepper, prepare = Stepper(learner.trainer, task), learner.trainer.prepare
    budget = config.data.batch_tokens
    plan = plan_evaluation(valid.source_lengths, valid.target_lengths, budget)
    validation = [prepare([valid[pair] for pair in pairs]) for pairs in plan]
    batches = TokenBatchSampler(train.source_lengths, train.target_lengths, budget, seed)
    now, seconds = clock(torch.device(args.device)), 0.0
    curve: Curve = []
    for step, planned in enumerate(islice(batches, config.optim.steps), start=1):
        batch = prepare([train[pair] for pair in planned.pairs])
        started = now()
        stepper.step(batch)
        seconds += now() - started
        if step % config.trainer.validate_every == 0 or step == config.optim.steps:
            nats = _nats(learner, task, validation) / int(valid.target_lengths.sum())
            perplexity = math.exp(nats if nats < 700 else 700)  # also of a training that diverged to nan
            curve.append((step, perplexity, round(seconds, 2)))
    return curve


def _corpus(folder: Path) -> tuple["Split", "Split", int]:
    """Return training and validation pairs and the size of the vocabulary; raises UserError for a sentence too long."""
    from benchmarks.trainers import MAX_POSITIONS
    from data_modules.corpora.text import TRAIN, VALID
    from data_modules.prepared import PreparedCorpus

    corpus = PreparedCorpus.open(folder)
    splits = corpus.split(TRAIN), corpus.split(VALID)
    longest = max(max(split.source_lengths.max(), split.target_lengths.max()) for split in splits)
    if longest > MAX_POSITIONS:
        raise UserError(f"{folder} has a sentence of {longest} tokens; tables of positions here hold {MAX_POSITIONS}")
    return *splits, corpus.vocab_size


def _nats(learner: "Learner", task: "Task", batches: Sequence[Any]) -> float:
    """Return the cross-entropy without dropout and label smoothing, in nats, summed over all target tokens."""
    import torch

    network = learner.trainer.network.eval()
    with torch.no_grad(), task.autocast():
        total = sum(float(learner.nats(batch)) for batch in batches)
    network.train()
    return total


class Result(NamedTuple):
    """A contestant over its seeds: perplexities at the three steps, seconds to the target, and ratios to a peer."""

    name: str
    perplexities: list[list[float]]
    """Of every seed, at each of the three steps."""
    seconds: list[float | None]
    """To the target perplexity, of every seed; None where it was not reached."""
    step_seconds: float
    times_best_peer: list[float]
    """Perplexity over the best peer's, at each of the three steps; of medians."""


class Table(NamedTuple):
    """What the trainings of a file show."""

    steps: list[int]
    target: float
    results: list[Result]


def read(trainings: Sequence[Mapping[str, Any]]) -> Table:
    """Summarise trainings: medians over seeds, at a third, two thirds and the whole of the steps."""
    curves: dict[str, list[Curve]] = {}
    for row in trainings:
        curves.setdefault(row["contestant"], []).append(row["curve"])
    validations = len(trainings[0]["curve"])
    places = [math.ceil(validations * third / 3) - 1 for third in (1, 2, 3)]
    at = {name: [[curve[place][1] for curve in own] for place in places] for name, own in curves.items()}
    medians = {name: [statistics.median(seeds) for seeds in own] for name, own in at.items()}
    best = [min((medians[name][third] for name in PEERS if name in medians), default=math.nan) for third in range(3)]
    target = DISTANCE * min(own[-1] for own in medians.values())
    results = [
        Result(
            name,
            at[name],
            [seconds_to(target, curve) for curve in own],
            statistics.median(curve[-1][2] / curve[-1][0] for curve in own),
            [value / least for value, least in zip(medians[name], best, strict=True)],
        )
        for name, own in curves.items()
    ]
    return Table([trainings[0]["curve"][place][0] for place in places], target, results)


def seconds_to(target: float, curve: Curve) -> float | None:
    """Return the training seconds at which a curve falls to a perplexity, linear in its logarithm in between."""
    before: tuple[int, float, float] | None = None
    for point in curve:
        _, perplexity, seconds = point
        if perplexity <= target:
            if before is None:
                return seconds
            share = math.log(before[1] / target) / math.log(before[1] / perplexity)
            return before[2] + share * (seconds - before[2])
        before = point
    return None


def cells(table: Table) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of a table as text."""
    header = [f"at {step}" for step in table.steps] + [f"x best peer, {step}" for step in table.steps]
    header += [f"s to {table.target:.4g}", "ms/step", "seeds"]
    rows = [
        [
            result.name,
            *(_span(seeds) for seeds in result.perplexities),
            *("–" if math.isnan(ratio) else f"{ratio:.3f}" for ratio in result.times_best_peer),
            _seconds(result.seconds),
            f"{1000 * result.step_seconds:.0f}",
            str(len(result.seconds)),
        ]
        for result in table.results
    ]
    return header, rows


def verdict(table: Table) -> str:
    """Say whether ours is within the margin of the best peer at each of the three steps."""
    ours = [result for result in table.results if result.name.startswith(OURS)]
    if not ours or math.isnan(ours[0].times_best_peer[0]):
        return "no peer to compare with" if ours else "ours was not trained"
    best = min(ours, key=lambda result: max(result.times_best_peer))
    worst = max(best.times_best_peer)
    if worst <= MARGIN:
        return f"{best.name} is within {MARGIN - 1:.0%} of the best peer at all three ({worst:.3f} at most)"
    behind = [step for step, ratio in zip(table.steps, best.times_best_peer, strict=True) if ratio > MARGIN]
    return f"{best.name} is behind the best peer after {', '.join(map(str, behind))} steps ({worst:.3f} at most)"


def print_table(record: Mapping[str, Any]) -> None:
    """Print the table of a file."""
    if not record["trainings"]:
        raise UserError("no system could be trained")
    table = read(record["trainings"])
    header, rows = cells(table)
    show([title(record["settings"]), *header], rows)
    print(verdict(table))


def title(settings: Mapping[str, Any]) -> str:
    """Return a description of what was learned."""
    return f"perplexity, {settings['study']}, {settings['size']}, {settings['precision']}"


def _in_own_process(contestant: Contestant, seed: int, data_folder: Path, args: argparse.Namespace) -> Curve:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(learn, contestant, seed, data_folder, args).result()


def _check(changes: Sequence[str], base: RunConfig, changed: RunConfig) -> None:
    """Refuse a change that would not be one of ours alone, or that training here does not read."""
    before, after = flatten(to_dict(base)), flatten(to_dict(changed))
    for key in before:
        of_ours = key.startswith(("model.", "optim.")) and not key.startswith(FIXED)
        if before[key] != after[key] and key != "recipe" and not of_ours:
            raise UserError(f"--ours {' '.join(changes)}: {key} is the same for all systems")


def _begin(args: argparse.Namespace, config: RunConfig) -> dict[str, Any]:
    """Return a new record, or the one to resume; raises UserError where that is of other settings, machine or code."""
    from benchmarks.environment import describe

    keys = ("study", "size", "precision", "threads", "device")
    settings = {key: getattr(args, key) for key in keys}
    settings |= {"optim": to_dict(config.optim), "batch_tokens": config.data.batch_tokens}
    settings |= {"validate_every": config.trainer.validate_every}
    new = {"settings": settings, **describe(), "threads": args.threads, "code_hash": machine.code_hash()}
    new |= {"trainings": []}
    if not args.resume or args.out is None or not args.out.exists():
        return new
    record: dict[str, Any] = files.read_json(args.out)
    for key, what in (("settings", "other settings"), ("machine", "another machine"), ("code_hash", "other code")):
        if record[key] != new[key]:
            raise UserError(f"{args.out} holds trainings of {what}; leave out --resume to begin anew")
    return record


def _span(values: Sequence[float]) -> str:
    median = statistics.median(values)
    return f"{median:.3f}" if len(values) == 1 else f"{median:.3f} ({min(values):.3f} to {max(values):.3f})"


def _seconds(values: Sequence[float | None]) -> str:
    reached = [value for value in values if value is not None]
    return f"{statistics.median(reached):.0f}" if len(reached) == len(values) else "–"


if __name__ == "__main__":
    cli.run(main)
