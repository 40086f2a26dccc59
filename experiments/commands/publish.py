"""Publish a study's results: a small copy for git, which reports of later runs are compared with.

    python -m experiments publish --study components

Writes results.json, table.md, forest.png and forest.svg under experiments/studies/<study>/published/. The same results
give the same bytes. A study with cells to train or evaluate is refused unless --partial is given.
"""

import argparse
from collections.abc import Sequence

from experiments.config.study import load_study
from experiments.layer_costs.settings import STUDY as LAYER_COSTS


def main(argv: Sequence[str] | None = None) -> None:
    """Publish one study and print what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, help="a folder of experiments/studies")
    parser.add_argument("--partial", action="store_true", help="publish a study of which cells are missing")
    args = parser.parse_args(argv)
    if args.study == LAYER_COSTS.name:
        from experiments.layer_costs.report import publish_layers

        paths = publish_layers()
    else:
        study = load_study(args.study)
        from experiments.reporting.publication import publish

        paths = publish(study, args.partial)
    for path in paths:
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")
