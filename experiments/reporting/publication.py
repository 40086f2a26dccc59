"""The published results of a study: a small copy for git, which reports of later runs are compared with."""

from pathlib import Path

from experiments.common.io import replace, write_text
from experiments.config.study import Study
from experiments.reporting import tables
from experiments.reporting.figures.forest import forest_chart
from experiments.reporting.figures.style import render_png, render_svg, standalone
from experiments.reporting.provenance import provenance
from experiments.reporting.published import published_folder, write_published
from experiments.reporting.results import Results, listed, read_results
from experiments.reporting.summary import Summary, summarise
from lit_transformer.errors import UserError


def publish(study: Study, partial: bool = False) -> list[Path]:
    """Write the published results of a study and return their paths; `partial` admits missing cells."""
    results = read_results(study)
    summary = summarise(study, results)
    _refuse_gaps(study, summary, partial)
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


def _refuse_gaps(study: Study, summary: Summary, partial: bool) -> None:
    """Raise UserError for a study without a score, and for one with cells to train or evaluate unless `partial`.

    Seeds that no open verdict needs are no gap.
    """
    if summary.primary is None:
        raise UserError(f"no cell of study {study.name} has a score to publish; evaluate one first")
    missing = [("trained", summary.missing), ("evaluated", summary.unscored)]
    if tuned := summary.tuned:
        missing += [("trained at their best", tuned.missing), ("evaluated at their best", tuned.unscored)]
    gaps = [f"{len(cells)} not {what} ({listed(cells)})" for what, cells in missing if cells]
    if gaps and not partial:
        raise UserError(f"study {study.name} is incomplete: {'; '.join(gaps)}; run them, or add --partial")


def _how_made(summary: Summary, results: Results) -> str:
    found = provenance(summary, results)
    lines = [f"* {name}: {value}" for name, value in found.facts] + [f"* {warning}" for warning in found.warnings]
    text = "\n".join(lines)
    return f"\n## How it was made\n\nresults.json has every score of every cell.\n\n{text}\n"
