"""Publish a study's results: a small copy for git, which reports of later runs are compared with.

    python -m experiments publish --study components

Writes results.json, table.md, forest.png and forest.svg under experiments/studies/<study>/published/. The same results
give the same bytes. A study with cells to train or evaluate is refused unless --partial is given.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from experiments.common.io import read_json, replace, write_text
from experiments.config.study import Study, load_study
from experiments.layer_costs import settings as layer_costs
from experiments.reporting import tables
from experiments.reporting.provenance import provenance
from experiments.reporting.published import published_folder, write_published
from experiments.reporting.results import Results, listed, read_results
from experiments.reporting.summary import Summary, summarise
from lit_transformer.errors import UserError


def main(argv: Sequence[str] | None = None) -> None:
    """Publish one study and print what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, help="a folder of experiments/studies")
    parser.add_argument("--partial", action="store_true", help="publish a study of which cells are missing")
    args = parser.parse_args(argv)
    if args.study == layer_costs.STUDY.name:
        paths = publish_layers()
    else:
        study = load_study(args.study)
        results = read_results(study)
        _refuse_gaps(study, results, args.partial)
        paths = publish(study, results, summarise(study, results))
    for path in paths:
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


def publish(study: Study, results: Results, summary: Summary) -> list[Path]:
    """Write the published results of a study and return their paths."""
    from experiments.reporting.figures.forest import forest_chart
    from experiments.reporting.figures.style import render_png, render_svg, standalone

    folder = published_folder(study.name)
    paths = [write_published(study, results, summary), folder / "table.md"]
    write_text(folder / "table.md", tables.markdown(summary) + _how_made(summary, results))
    forest = forest_chart(summary, 560)
    if forest is not None:
        picture = render_png(forest)
        paths += [folder / "forest.png", folder / "forest.svg"]
        replace(folder / "forest.png", lambda path: path.write_bytes(picture))
        write_text(folder / "forest.svg", standalone(render_svg(forest)))
    return paths


def publish_layers() -> list[Path]:
    """Publish the measurements of Table 1: layers.json, table.md and the figure of time."""
    from experiments.layer_costs.report import write_published

    measured = layer_costs.STUDY / "results/layers.json"
    if not measured.is_file():
        raise UserError(f"{measured} is missing; measure first: python -m experiments layers --stage measure")
    settings = layer_costs.read_settings(layer_costs.STUDY / "layers.yaml")
    return write_published(settings, read_json(measured), published_folder(layer_costs.STUDY.name))


def _refuse_gaps(study: Study, results: Results, partial: bool) -> None:
    """Raise UserError for a study without a score, and for one with cells to train or evaluate unless `partial`."""
    if results.primary is None:
        raise UserError(f"no cell of study {study.name} has a score to publish; evaluate one first")
    gaps = [
        f"{len(cells)} not {what} ({listed(cells)})"
        for what, cells in (("trained", results.missing), ("evaluated", results.unscored))
        if cells
    ]
    if gaps and not partial:
        raise UserError(f"study {study.name} is incomplete: {'; '.join(gaps)}; run them, or add --partial")


def _how_made(summary: Summary, results: Results) -> str:
    found = provenance(summary, results)
    lines = [f"* {name}: {value}" for name, value in found.facts] + [f"* {warning}" for warning in found.warnings]
    text = "\n".join(lines)
    return f"\n## How it was made\n\nresults.json has every score of every cell.\n\n{text}\n"
