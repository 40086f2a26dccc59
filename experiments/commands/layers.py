"""Measure Table 1: time, memory, operations and path lengths of each kind of layer, beside the paper's O().

Writes results/layers.json and report/ in the study's folder, experiments/studies/table1, or in --out.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from experiments.common import cli
from experiments.common.io import only_writer, read_json, write_json
from experiments.layer_costs.settings import STUDY, quick, read_settings
from lit_transformer.errors import UserError

QUICK, LOCK = Path("runs/table1-quick"), Path("runs/table1")
"""The quick study's folder, and the folder whose lock keeps two measurements from running at once."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and report, or one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"small sizes that take seconds, into {QUICK}")
    parser.add_argument("--stage", choices=["measure", "report"], help="run one stage (default: both)")
    parser.add_argument("--repeats", type=int, help="timed passes of each layer, instead of the settings'")
    parser.add_argument("--out", type=cli.user_path, help=f"folder of results and report (default: {STUDY})")
    args = parser.parse_args(argv)
    settings = read_settings(STUDY / "layers.yaml")
    settings = quick(settings) if args.quick else settings
    if args.repeats is not None:
        if args.repeats < 1:
            raise UserError(f"--repeats {args.repeats}: it must be at least 1")
        settings = replace(settings, repeats=args.repeats)
    folder = args.out if args.out else QUICK if args.quick else STUDY
    results = folder / "results/layers.json"
    if args.stage != "report":
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or torch's profiler prints that it starts
        from experiments.layer_costs.measure import measure

        with only_writer(QUICK if args.quick else LOCK):
            write_json(results, measure(settings))
    if args.stage != "measure":
        from experiments.layer_costs.report import write_report
        from experiments.reporting.published import published_folder

        if not results.is_file():
            options = (" --quick" if args.quick else "") + (f" --out {args.out}" if args.out else "")
            measure_first = f"measure first: python -m experiments layers --stage measure{options}"
            published = f"; the published measurements are in {published_folder(STUDY.name)}" if folder == STUDY else ""
            raise UserError(f"{results} is missing; {measure_first}{published}")
        print(f"report: {write_report(settings, read_json(results), folder / 'report')}")
