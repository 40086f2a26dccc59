"""Target tokens a second of training steps, beside torch.nn.Transformer, Hugging Face, x-transformers and JoeyNMT.

    python -m benchmarks.training
    python -m benchmarks.training --precision bfloat16 --out training.json
    python -m benchmarks.training --size base --tokens 2048 --rounds 3
    python -m benchmarks.training --mixed

The same drawn pairs in the same batches: forward, backward and the update of fused Adam; dropout 0.1, label smoothing
0.1, tied embeddings of 8,000 tokens. Every system has a process of its own with the settings that its users get: ours
with those of `common.machine`, the others with torch's; one more row shows what those settings alone give the
plain loop. Systems take turns; a ratio is taken within a round. Tokens are target tokens that are not padding. The
share of the peak is of the operations that the model needs for the real tokens, over what a large matrix product
reaches in the same precision and with our settings.
"""

import argparse
import statistics
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.apart import Begin, processes, turns
from benchmarks.pairs import draw
from benchmarks.rounds import Column, plain, print_table, rows, take_turns
from benchmarks.sizes import SIZES, VOCABULARY
from experiments.common import cli, machine
from experiments.common import io as files

OURS, PEER = "lit_transformer", "torch.nn loop"
OURS_COMPILED = "lit_transformer, compiled"
COMPILED, TUNED = "torch.nn loop, compiled", "torch.nn loop, our settings"
OTHERS = ("Hugging Face Marian", "x-transformers", "JoeyNMT")


class Training:
    """Steps of one system, in its own process."""

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
        drawn = draw(VOCABULARY, args.tokens, args.batches, not args.mixed)
        self.batches = [self.stepper.trainer.prepare(pairs) for pairs in drawn.batches]
        self.peak = measured_rate(self.device, args.precision).flops if tuned else 0.0

    def turn(self) -> float:
        """Train on every batch once."""
        started = self.now()
        for batch in self.batches:
            self.stepper.step(batch)
        return self.now() - started

    def finish(self) -> dict[str, float]:
        """Return peak memory in GB, parameters in millions and the rate of a matrix product in GFLOP/s."""
        import torch

        on_gpu = self.device.type == "cuda"
        peak = torch.cuda.max_memory_allocated() if on_gpu else machine.peak_memory()
        parameters = sum(p.numel() for p in self.stepper.trainer.network.parameters() if p.requires_grad)
        return {"memory": peak / 1e9, "parameters": parameters / 1e6, "peak": self.peak / 1e9}


def main() -> None:
    """Parse the command line, train in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="small", help="small: d_model 256, 3 + 3 layers")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--tokens", type=int, default=4096, help="padded tokens of a batch on either side (4096)")
    parser.add_argument("--batches", type=int, default=2, help="batches a turn (2)")
    parser.add_argument("--mixed", action="store_true", help="batches of any lengths together")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--compile", action="store_true", help="add torch.compile of ours and of the plain loop")
    parser.add_argument("--only", nargs="*", metavar="SYSTEM", help=f"leave out all but these of {', '.join(OTHERS)}")
    parser.add_argument("--out", type=Path, help="write the table and the machine it is of as JSON, too")
    args = parser.parse_args()
    compare(args)


def compare(args: argparse.Namespace) -> None:
    """Let all systems train in turns, print the table, and write it where the user asked for that."""
    before = machine.load()
    with processes(_systems(args)) as running:
        seconds = take_turns(turns(running), args.rounds)
        figures = {name: process.finish() for name, process in running.items()}
    drawn = draw(VOCABULARY, args.tokens, args.batches, not args.mixed)
    found = rows(seconds, sum(drawn.tokens), PEER)
    peak = figures[OURS]["peak"]
    useful = _useful_flops(args)
    fastest = max(row.rate.median for row in found if row.name in (PEER, *OTHERS))
    columns = [
        Column("x fastest peer", ".2f", "times_fastest_peer", {row.name: row.rate.median / fastest for row in found}),
        Column(
            f"of {peak:,.0f} GFLOP/s",
            ".0%",
            "share_of_matrix_peak",
            {name: useful / statistics.median(own) / (peak * 1e9) for name, own in seconds.items()},
        ),
        Column("GB", ".2f", "peak_memory_gb", {name: figure["memory"] for name, figure in figures.items()}),
        Column("M parameters", ".2f", "million_parameters", {n: figure["parameters"] for n, figure in figures.items()}),
    ]
    kind = "of any lengths" if args.mixed else "of like lengths"
    print(f"batches of {args.tokens:,} tokens with padding, {kind}; {args.threads} thread(s), {args.device}")
    print_table(f"{args.size}, {args.precision}", "tokens", PEER, found, columns)
    if args.out is not None:
        record = _record(args, [before, machine.load()], peak)
        files.write_json(args.out, record | {"systems": plain("target tokens", PEER, found, columns)})


def _systems(args: argparse.Namespace) -> dict[str, Begin]:
    begin: dict[str, Begin] = {OURS: partial(Training, OURS, args, True), PEER: partial(Training, PEER, args, False)}
    begin[TUNED] = partial(Training, PEER, args, True)
    if args.compile:
        begin[OURS_COMPILED] = partial(Training, OURS_COMPILED, args, True)
        begin[COMPILED] = partial(Training, COMPILED, args, False)
    chosen = OTHERS if args.only is None else [name for name in OTHERS if name in args.only]
    return begin | {name: partial(Training, name, args, False) for name in chosen}


def _useful_flops(args: argparse.Namespace) -> float:
    """Return the operations of a turn: of the model's arithmetic, for real tokens."""
    import torch

    from lit_transformer.flops import Work, training_flops

    model = SIZES[args.size]
    pairs = [pair for batch in draw(VOCABULARY, args.tokens, args.batches, not args.mixed).batches for pair in batch]
    lengths = (torch.tensor([len(pair[side]) + 1 for pair in pairs]) for side in (0, 1))
    return float(training_flops(model, VOCABULARY, Work.of_lengths(model, *lengths)))


def _record(args: argparse.Namespace, load: list[float], peak: float) -> dict[str, Any]:
    """Return what the figures are of: the settings, the machine and how busy it was, the versions."""
    from benchmarks.versions import described

    settings = {name: value for name, value in vars(args).items() if name != "out"}
    return {
        "settings": settings,
        "load_before_and_after": load,
        "matrix_gflops_per_second": round(peak, 1),
        **described(),
        "threads": args.threads,
    }


if __name__ == "__main__":
    cli.run(main)
