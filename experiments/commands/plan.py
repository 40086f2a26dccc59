"""Estimate what a study costs before anything runs: parameters, FLOPs, time, disk, and what its seeds can separate.

    python -m experiments plan --study components
    python -m experiments plan --study table3_wmt14 --gpus H200:8 A100 --no-probe

Training FLOPs are counted both ways: by the arithmetic of the model, and as time x rate, as the paper's Table 2 does.
Times here are measured on a few steps of every shape of model; times on GPUs named by --gpus rest on assumptions,
which are printed. Validation, scoring and the report come on top.
"""

import argparse
from collections.abc import Sequence

from experiments.common import cli
from experiments.common.device_rates import UTILISATION
from experiments.config.study import load_study
from lit_transformer.errors import UserError


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, and print the plan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, help="a folder of experiments/studies")
    parser.add_argument(
        "--gpus", nargs="+", default=[], metavar="NAME:COUNT", help="estimate for these too: H200:8 A100"
    )
    parser.add_argument("--seeds", type=cli.at_least(1), help="the number of seeds (default: the study's)")
    parser.add_argument("--slots", type=cli.at_least(1), help="cells at once on this machine (default: as launch)")
    parser.add_argument("--utilisation", type=float, default=UTILISATION, help="share of a GPU's peak (%(default)s)")
    parser.add_argument("--no-probe", action="store_true", help="measure nothing here")
    args = parser.parse_args(argv)
    if not 0 < args.utilisation <= 1:
        raise UserError(f"--utilisation is {args.utilisation}; it must be above 0 and at most 1")
    study = load_study(args.study)
    cli.announce(f"computing what a cell of {study.name} costs")
    from experiments.launching.resources import default_slots
    from experiments.planning.plan import Fleet, make_plan
    from experiments.planning.plan_table import show

    fleets = tuple(Fleet.parse(text, args.utilisation) for text in args.gpus)
    slots = args.slots or default_slots(study)
    show(make_plan(study, args.seeds or len(study.seeds), fleets, slots, not args.no_probe))
