"""Where our time goes, by kind of operation, in training steps and decoding.

    python -m benchmarks.shares
    python -m benchmarks.shares --size tiny --precision bfloat16 --out shares.json

Self time of each operation on one thread by torch's profiler, over the sum of all operations. Time in Python between
operations is not included.
"""

import argparse
from collections.abc import Callable

from benchmarks.decoding import set_up
from benchmarks.environment import describe
from benchmarks.random_decoding import random_subject
from benchmarks.random_pairs import draw
from benchmarks.rounds import show
from benchmarks.sizes import SIZES, VOCABULARY
from experiments.common import cli, machine
from experiments.common import io as files

KINDS = {
    "optimiser": ("adam",),
    "matmul": ("mm", "linear_pointwise", "dot_product"),
    "softmax, loss": ("softmax", "exp_", "crossentropy"),
    "norms": ("layer_norm",),
    "dropout": ("random_", "drop"),
    "best tokens": ("topk", "amax", "sort", "max"),
    "copies, gathers": ("copy", "cat", "index", "gather", "embedding", "scatter"),
}
"""Substrings of operation names by kind; the first match counts. "elementwise, other" is the rest."""
REST = "elementwise, other"
STEPS = 3


def main() -> None:
    """Parse the command line, profile and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="small", help="small: d_model 256, 3 + 3 layers")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of training")
    parser.add_argument("--tokens", type=int, default=4096, help="padded tokens of a training batch (4096)")
    parser.add_argument("--out", type=cli.user_path, help="also write the shares and the machine as JSON")
    args = parser.parse_args()
    set_up("medium", threads=1)
    works = {
        f"training, {args.size}, {args.precision}": training(args),
        f"decoding, {args.size}, beam 4": decoding(args, 4),
        f"decoding, {args.size}, greedy": decoding(args, 1),
    }
    table = {name: shares(work) for name, work in works.items()}
    lines = [[kind, *(f"{column[kind]:.1%}" for column in table.values())] for kind in [*KINDS, REST]]
    show(["share of the time in operations", *table], lines)
    if args.out is not None:
        record = {"tokens": args.tokens, "load": machine.load(), **describe()}
        files.write_json(args.out, record | {"shares": table})


def training(args: argparse.Namespace) -> Callable[[], object]:
    """Return the training steps of `benchmarks.training`."""
    from benchmarks.trainers import Task, build

    stepper = build("lit_transformer", Task(SIZES[args.size], VOCABULARY, args.precision == "bfloat16", "cpu"))
    (pairs,) = draw(VOCABULARY, args.tokens, 1, grouped=True).batches
    batch = stepper.trainer.prepare(pairs)
    return lambda: [stepper.step(batch) for _ in range(STEPS)]


def decoding(args: argparse.Namespace, beam: int) -> Callable[[], object]:
    """Return the work of `benchmarks.random_decoding`."""
    from benchmarks.translators import ours

    subject = random_subject(argparse.Namespace(size=args.size, seed=0, batch=40, sentences=200, beam=beam))
    translate = ours(subject.network, subject.decode, 40)
    return lambda: translate(subject.sources)


def shares(work: Callable[[], object]) -> dict[str, float]:
    """Return each kind's share of the time in operations."""
    from torch.profiler import ProfilerActivity, profile

    work()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        work()
    spent = dict.fromkeys([*KINDS, REST], 0.0)
    for event in profiled.key_averages():
        spent[kind_of(event.key)] += event.self_cpu_time_total
    return {kind: round(seconds / sum(spent.values()), 4) for kind, seconds in spent.items()}


def kind_of(operation: str) -> str:
    """Return the kind of an operation."""
    name = operation.rpartition("::")[2].lower()
    return next((kind for kind, words in KINDS.items() if any(word in name for word in words)), REST)


if __name__ == "__main__":
    cli.run(main)
