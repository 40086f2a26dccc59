"""Speed and error of the float32 matmul precisions on this machine.

    python -m benchmarks.float32
    python -m benchmarks.float32 --device cuda --out float32.json

`trainer.matmul` of a study selects the precision (`torch.set_float32_matmul_precision`). "high" and "medium" allow
operands of fewer bits where the hardware supports them; elsewhere all give the same result, and the table says so.
Errors are relative to float64; the gradient is that of one training step of the tiny model without dropout.
"""

import argparse
import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.environment import describe
from benchmarks.random_pairs import draw
from benchmarks.sizes import SIZES, VOCABULARY
from benchmarks.trainers import Task, ours
from experiments.common import cli, machine
from experiments.common import io as files
from experiments.common.device_rates import measured_rate

MODES = ("highest", "high", "medium")
SIDE = 1024


class Mode(NamedTuple):
    """GFLOP/s and relative error of a large matmul, relative error of a gradient, and whether it changes nothing."""

    gflops_per_second: float
    product_error: float
    gradient_error: float
    equal_to_highest: bool


def main() -> None:
    """Parse the command line, measure the precisions and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=cli.user_path, help="also write the table and the machine as JSON")
    args = parser.parse_args()
    machine.set_up()
    torch.set_num_threads(args.threads)
    results = measure(torch.device(args.device))
    print(f"{'mode':<10} {'GFLOP/s':>8} {'error of a matmul':>20} {'of a gradient':>15}  bits of the matmul")
    for name, mode in results.items():
        errors = f"{mode.product_error:>20.1e} {mode.gradient_error:>15.1e}"
        bits = "same as highest" if mode.equal_to_highest else "different"
        print(f"{name:<10} {mode.gflops_per_second:>8,.0f} {errors}  {bits}")
    if args.out is not None:
        modes = {name: mode._asdict() for name, mode in results.items()}
        files.write_json(args.out, {"device": args.device, **describe(), "modes": modes})


def measure(device: torch.device) -> dict[str, Mode]:
    """Measure every precision; restores torch's setting."""
    before = torch.get_float32_matmul_precision()
    torch.manual_seed(0)
    a, b = (torch.randn(SIDE, SIDE, device=device) for _ in range(2))
    exact = a.double() @ b.double()
    trainer = ours(Task(SIZES["tiny"], VOCABULARY, bfloat16=False, device=device.type))
    trainer.network.eval()  # without dropout
    batch = trainer.prepare(draw(VOCABULARY, 512, 1, grouped=True).batches[0])
    gradient = _gradient(copy.deepcopy(trainer.network).double(), batch)
    results, reference = {}, a @ b
    try:
        for name in MODES:
            torch.set_float32_matmul_precision(name)
            product = a @ b
            rate = measured_rate(device, "float32").flops / 1e9
            errors = _error(product, exact), _error(_gradient(trainer.network, batch), gradient)
            results[name] = Mode(round(rate, 1), *errors, torch.equal(product, reference))
    finally:
        torch.set_float32_matmul_precision(before)
    return results


def _gradient(module: Any, batch: Any) -> Tensor:
    """Return the gradient of the loss (nats per token) in all weights as one float64 vector."""
    module.zero_grad()
    nats, _ = module.objective(module.network, batch)
    (nats / batch.target_tokens).backward()
    return torch.cat([weight.grad.double().flatten() for weight in module.parameters()])


def _error(value: Tensor, exact: Tensor) -> float:
    return float((value.double() - exact).norm() / exact.norm())


if __name__ == "__main__":
    cli.run(main)
