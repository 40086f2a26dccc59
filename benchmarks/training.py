"""Training speed in target tokens per second beside torch.nn.Transformer, Hugging Face, x-transformers and JoeyNMT.

    python -m benchmarks.training
    python -m benchmarks.training --precision bfloat16 --out training.json
    python -m benchmarks.training --size base --tokens 2048 --rounds 3
    python -m benchmarks.training --mixed

The same random sentence pairs in the same batches: forward, backward and the fused Adam update; dropout 0.1, label
smoothing 0.1, tied embeddings of 8,000 tokens. Every system has its own process with the settings that its users get:
ours those of `experiments.common.machine`, the others torch's defaults; a further row shows the plain loop with our
settings. Systems take turns, and ratios are taken within a round. Padding is not counted as tokens. The share of the
peak is the FLOPs that the model needs for the real tokens, over those of a large matmul in the same precision and with
our settings.
"""

import argparse
import statistics
from functools import partial
from typing import Any

from benchmarks.random_pairs import draw
from benchmarks.rounds import Column, as_json, print_table, rows, take_turns
from benchmarks.sizes import SIZES, VOCABULARY
from benchmarks.workers import JobFactory, start_workers, turns
from experiments.common import cli, machine
from experiments.common import io as files
from lit_transformer.errors import UserError

OURS, PEER = "lit_transformer", "torch.nn loop"
OURS_COMPILED = "lit_transformer, compiled"
COMPILED, TUNED = "torch.nn loop, compiled", "torch.nn loop, our settings"
OTHERS = ("Hugging Face Marian", "x-transformers", "JoeyNMT")


class Training:
    """Training steps of one system, in its own process."""

    def __init__(self, name: str, args: argparse.Namespace, tuned: bool) -> None:
        if tuned:
            machine.set_up("medium")
        import torch

        from benchmarks.trainers import Task, build
        from experiments.common.device_rates import clock, measured_rate

        torch.set_num_threads(args.threads)
        self.device = torch.device(args.device)
        self.now = clock(self.device)
        bfloat16 = args.precision == "bfloat16"
        self.stepper = build(name, Task(SIZES[args.size], VOCABULARY, bfloat16, self.device.type))
        random = draw(VOCABULARY, args.tokens, args.batches, not args.mixed)
        self.batches = [self.stepper.trainer.prepare(pairs) for pairs in random.batches]
        self.peak = partial(measured_rate, self.device, args.precision) if tuned else None

    def turn(self) -> float:
        """Train on every batch once."""
        started = self.now()
        for batch in self.batches:
            self.stepper.step(batch)
        return self.now() - started

    def finish(self) -> dict[str, float]:
        """Return peak memory in GB, parameters in millions and the matmul peak in GFLOP/s."""
        import torch

        on_gpu = self.device.type == "cuda"
        memory = torch.cuda.max_memory_allocated() if on_gpu else machine.peak_memory()
        parameters = sum(p.numel() for p in self.stepper.trainer.network.parameters() if p.requires_grad)
        rate = self.peak().flops if self.peak else 0.0  # now, while the other systems are idle
        return {"memory": memory / 1e9, "parameters": parameters / 1e6, "peak": rate / 1e9}


def main() -> None:
    """Parse the command line and run the benchmark."""
    compare(parser().parse_args())


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="small", help="small: d_model 256, 3 + 3 layers")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--tokens", type=int, default=4096, help="padded tokens of a batch on either side (4096)")
    parser.add_argument("--batches", type=int, default=2, help="batches per turn (2)")
    parser.add_argument("--mixed", action="store_true", help="batches of random pairs, not bucketed by length")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--compile", action="store_true", help="add torch.compile of ours and of the plain loop")
    parser.add_argument("--only", nargs="*", metavar="SYSTEM", help=f"only these of {', '.join(OTHERS)}")
    parser.add_argument("--out", type=cli.user_path, help="also write the table and the machine as JSON")
    return parser


def compare(args: argparse.Namespace) -> None:
    """Train with all systems in turns, print the table, and write it if requested."""
    before = machine.load()
    with start_workers(_systems(args)) as workers:
        left_out = workers.left_out
        if missing := {OURS, PEER} & left_out.keys():
            raise UserError("; ".join(f"{name}: {left_out[name]}" for name in sorted(missing)))
        seconds = take_turns(turns(workers), args.rounds)
        measurements = {name: worker.finish() for name, worker in workers.items()}
    tokens = sum(draw(VOCABULARY, args.tokens, args.batches, not args.mixed).tokens)
    table = rows(seconds, tokens, PEER)
    peak = measurements[OURS]["peak"]
    useful = _useful_flops(args)
    fastest = max(row.rate.median for row in table if row.name in (PEER, *OTHERS))
    columns = [
        Column("x fastest peer", ".2f", "times_fastest_peer", {row.name: row.rate.median / fastest for row in table}),
        Column(
            f"of {peak:,.0f} GFLOP/s",
            ".0%",
            "share_of_matrix_peak",
            {name: useful / statistics.median(timings) / (peak * 1e9) for name, timings in seconds.items()},
        ),
        Column("GB", ".2f", "peak_memory_gb", {name: values["memory"] for name, values in measurements.items()}),
        Column(
            "M parameters", ".2f", "million_parameters", {n: values["parameters"] for n, values in measurements.items()}
        ),
    ]
    kind = "of random pairs" if args.mixed else "bucketed by length"
    print(f"batches of {args.tokens:,} padded tokens, {kind}; {args.threads} thread(s), {args.device}")
    print_table(f"{args.size}, {args.precision}", "tokens", PEER, table, columns)
    if args.out is not None:
        record = _record(args, [before, machine.load()], peak)
        systems = as_json("target tokens", PEER, table, columns)
        files.write_json(args.out, record | {"systems": systems, "left_out": left_out})


def _systems(args: argparse.Namespace) -> dict[str, JobFactory]:
    factories: dict[str, JobFactory] = {
        OURS: partial(Training, OURS, args, True),
        PEER: partial(Training, PEER, args, False),
    }
    if args.device == "cpu":  # its allocator and matrix library are what our settings are about
        factories[TUNED] = partial(Training, PEER, args, True)
    if args.compile:
        factories[OURS_COMPILED] = partial(Training, OURS_COMPILED, args, True)
        factories[COMPILED] = partial(Training, COMPILED, args, False)
    chosen = OTHERS if args.only is None else [name for name in OTHERS if name in args.only]
    return factories | {name: partial(Training, name, args, False) for name in chosen}


def _useful_flops(args: argparse.Namespace) -> float:
    """Return the FLOPs of a turn that the model needs, without padding."""
    import torch

    from lit_transformer.flops import Work, build_on_meta, training_flops

    config = SIZES[args.size]
    pairs = [pair for batch in draw(VOCABULARY, args.tokens, args.batches, not args.mixed).batches for pair in batch]
    lengths = (torch.tensor([len(pair[side]) + 1 for pair in pairs]) for side in (0, 1))
    return float(training_flops(build_on_meta(config, VOCABULARY), Work.of_lengths(config, *lengths)))


def _record(args: argparse.Namespace, load: list[float], peak: float) -> dict[str, Any]:
    """Return what the numbers depend on: settings, machine and its load, versions."""
    from benchmarks.environment import describe

    settings = {name: value for name, value in vars(args).items() if name != "out"}
    return {
        "settings": settings,
        "load_before_and_after": load,
        "matrix_gflops_per_second": round(peak, 1),
        **describe(),
        "threads": args.threads,
    }


if __name__ == "__main__":
    cli.run(main)
