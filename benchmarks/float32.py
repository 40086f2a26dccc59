"""What the faster modes of float32 products do on this machine: their rate, and their error beside float64.

    python -m benchmarks.float32
    python -m benchmarks.float32 --device cuda --out float32.json

`trainer.matmul` of a study names the mode. "high" and "medium" let the library take factors of fewer bits where the
processor has units for them; where it has none, all modes are the same product, and the table says so. The gradient is
that of one training step of the tiny model without dropout; its error is relative, over all weights.
"""

import argparse
import copy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.pairs import draw
from benchmarks.sizes import SIZES, VOCABULARY
from benchmarks.trainers import Task, ours
from benchmarks.versions import described
from experiments.common import cli, machine
from experiments.common import io as files
from experiments.common.device_rates import measured_rate

MODES = ("highest", "high", "medium")
SIDE = 1024


class Mode(NamedTuple):
    """GFLOP/s of a large product, relative errors of it and of a step's gradient, and whether its bits are the same."""

    gflops_per_second: float
    product_error: float
    gradient_error: float
    equal_to_highest: bool


def main() -> None:
    """Parse the command line, measure the modes and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, help="write the table and the machine it is of as JSON, too")
    args = parser.parse_args()
    machine.set_up()
    torch.set_num_threads(args.threads)
    found = measure(torch.device(args.device))
    print(f"{'mode':<10} {'GFLOP/s':>8} {'error of a product':>20} {'of a gradient':>15}  bits of a product")
    for name, mode in found.items():
        errors = f"{mode.product_error:>20.1e} {mode.gradient_error:>15.1e}"
        bits = "those of highest" if mode.equal_to_highest else "others"
        print(f"{name:<10} {mode.gflops_per_second:>8,.0f} {errors}  {bits}")
    if args.out is not None:
        modes = {name: mode._asdict() for name, mode in found.items()}
        files.write_json(args.out, {"device": args.device, **described(), "modes": modes})


def measure(device: torch.device) -> dict[str, Mode]:
    """Measure every mode; torch's own is put back."""
    before = torch.get_float32_matmul_precision()
    torch.manual_seed(0)
    one, other = (torch.randn(SIDE, SIDE, device=device) for _ in range(2))
    exact = one.double() @ other.double()
    trainer = ours(Task(SIZES["tiny"], VOCABULARY, bfloat16=False, device=device.type))
    trainer.network.eval()  # without dropout
    batch = trainer.prepare(draw(VOCABULARY, 512, 1, grouped=True).batches[0])
    gradient = _gradient(copy.deepcopy(trainer.network).double(), batch)
    found, first = {}, one @ other
    try:
        for name in MODES:
            torch.set_float32_matmul_precision(name)
            product = one @ other
            rate = measured_rate(device, "float32").flops / 1e9
            errors = _error(product, exact), _error(_gradient(trainer.network, batch), gradient)
            found[name] = Mode(round(rate, 1), *errors, torch.equal(product, first))
    finally:
        torch.set_float32_matmul_precision(before)
    return found


def _gradient(module: Any, batch: Any) -> Tensor:
    """Return the gradient of the nats a token to all weights in one vector, float64."""
    module.zero_grad()
    nats, _ = module.objective(module.network, batch)
    (nats / batch.target_tokens).backward()
    return torch.cat([weight.grad.double().flatten() for weight in module.parameters()])


def _error(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact).norm() / exact.norm())


if __name__ == "__main__":
    cli.run(main)
