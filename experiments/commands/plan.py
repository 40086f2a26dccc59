"""Says what a study will cost before anything runs: parameters, FLOPs, time, disk, and what its seeds can tell apart.

    python -m experiments plan --study components
    python -m experiments plan --study table3_wmt14 --gpus H200:8 A100 --no-probe

Training FLOPs are counted both ways: by the arithmetic of the model, and as time x rate, as the paper's Table 2 does.
Times here are measured on a few steps of every shape of model; times on GPUs named by --gpus rest on assumptions,
which are printed. Validation, scoring and the report come on top.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.common import cli, machine
from experiments.common.device_rates import UTILISATION, gpu_named, measured_rate
from experiments.config.run_config import RunConfig
from experiments.config.study import Study, load_study
from experiments.launching.resources import default_slots
from experiments.planning.plan_tables import show
from experiments.planning.planned import Fleet, Line, Plan
from experiments.planning.separable import separable
from experiments.planning.step_times import Measured, Sample, device_of, probe, sample_of, shape_of, step_flops
from lit_transformer.config import Averaging
from lit_transformer.errors import UserError

CHECKPOINT_BYTES = 12
"""Of a checkpoint, a parameter: the weight and Adam's two means, float32 each."""
WEIGHT_BYTES = 4


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, and print the plan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, help="a folder of experiments/studies")
    parser.add_argument(
        "--gpus", nargs="+", default=[], metavar="NAME:COUNT", help="reckon with these too: H200:8 A100"
    )
    parser.add_argument("--seeds", type=cli.at_least(1), help="reckon with this many seeds (the study's)")
    parser.add_argument("--slots", type=cli.at_least(1), help="cells at once on this machine (as launch does)")
    parser.add_argument("--utilisation", type=float, default=UTILISATION, help="share of a GPU's peak (%(default)s)")
    parser.add_argument("--no-probe", action="store_true", help="measure nothing here")
    args = parser.parse_args(argv)
    if not 0 < args.utilisation <= 1:
        raise UserError(f"--utilisation is {args.utilisation}; it must be above 0 and at most 1")
    fleets = tuple(fleet(text, args.utilisation) for text in args.gpus)
    study = load_study(args.study)
    show(plan(study, args.seeds or len(study.seeds), fleets, args.slots, not args.no_probe))


def fleet(text: str, utilisation: float) -> Fleet:
    """Read "H200:8" or "H200"; raises UserError for an unknown name or a count that is none."""
    name, _, count = text.partition(":")
    if count and not (count.isdecimal() and int(count) > 0):
        raise UserError(f"--gpus {text}: '{count}' is no number of GPUs; write {name}:8")
    return Fleet(name, gpu_named(name), int(count or 1), utilisation)


def plan(study: Study, seeds: int, fleets: tuple[Fleet, ...], slots: int | None, measure: bool) -> Plan:
    """Reckon with every cell of a study; `measure` takes steps of training here, once for each shape."""
    base = study.config(study.baseline, study.seeds[0])
    configs = {variant: study.config(variant, study.seeds[0]) for variant in study.variants}
    sample = sample_of(study)
    slots = slots or default_slots(study)
    threads = max(1, machine.cores() // slots)
    machine.set_up(base.trainer.matmul.value)
    set_threads(threads)
    probes = probe_all(configs, sample) if measure else {}
    lines = [line(variant, config, sample, probes.get(variant), fleets) for variant, config in configs.items()]
    device = device_of(base)
    results = [folder_bytes(path) for path in study.folder.glob("results/*/*") if path.is_dir()]
    return Plan(
        study=study.name,
        corpus=study.corpus,
        seeds=seeds,
        lines=lines,
        origin=sample.origin,
        on_gpu=device.type == "cuda",
        threads=threads,
        slots=slots,
        rate=measured_rate(device, base.trainer.precision.value) if measure else None,
        fleets=fleets,
        data_disk=folder_bytes(study.data_folder),
        result_disk=sum(results) // len(results) if results else 0,
        done=len([path for path in study.folder.glob("results/*/seed*/scores.json") if path.parts[-3] in configs]),
        separable=separable(study, seeds),
    )


def line(variant: str, config: RunConfig, sample: Sample, measured: Measured | None, fleets: tuple[Fleet, ...]) -> Line:
    """Reckon with one cell."""
    from lit_transformer.flops import parameter_count

    steps, flops = config.optim.steps, config.optim.steps * step_flops(config, sample)
    parameters = parameter_count(config.model, sample.vocab_size)
    layers = config.model.encoder_layers + config.model.decoder_layers
    on_fleets = tuple(one.seconds(flops, steps, layers) for one in fleets)
    return Line(variant, parameters, steps, flops, measured, on_fleets, disk_of(config, parameters))


def set_threads(count: int) -> None:
    """Compute with as many threads as `launch` gives to a cell."""
    import torch

    torch.set_num_threads(count)


def probe_all(configs: dict[str, RunConfig], sample: Sample) -> dict[str, Measured]:
    """Probe each shape once, and say on stderr how far it is."""
    found: dict[object, Measured] = {}
    shapes = {variant: shape_of(config) for variant, config in configs.items()}
    for variant, config in configs.items():
        if shapes[variant] not in found:
            print(f"probing {variant} ({len(found) + 1} of {len(set(shapes.values()))})", file=sys.stderr, flush=True)
            found[shapes[variant]] = probe(config, sample)
    return {variant: found[shape] for variant, shape in shapes.items()}


def disk_of(config: RunConfig, parameters: int) -> int:
    """Return the bytes that a cell keeps under runs/: its last two checkpoints, and what an average is made of."""
    averaging = config.optim.averaging
    kept = {Averaging.none: 0, Averaging.last: averaging.last + 1, Averaging.ema: 2}[averaging.kind]
    return parameters * (2 * CHECKPOINT_BYTES + WEIGHT_BYTES * kept)


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder; 0 where there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
