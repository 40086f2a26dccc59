"""The report of the study from its results alone: table.md, the figures and one page that needs no network."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import altair as alt

from experiments.common.io import read_json, write_text
from experiments.layer_costs.findings import MEASURES, Exponent, Finding, find, rows_along, unreached
from experiments.layer_costs.layers import BY_KEY, LAYERS
from experiments.layer_costs.settings import STUDY, Settings, read_settings
from experiments.reporting.figures.style import (
    BLUE,
    INK,
    ORANGE,
    PURPLE,
    QUIET,
    STRONG,
    Figure,
    Rows,
    chart_data,
    render_svg,
    standalone,
)
from experiments.reporting.grids import Grid, TableCell, markdown_grid
from experiments.reporting.page.sheets import Section, sheet
from experiments.reporting.published import published_folder
from lit_transformer.errors import UserError

AXES = ["of n", "at the end", "of d", "at the end"]
STYLES = {  # ink and dashes of each kind, readable without colour vision
    "self_attention": (BLUE, [1, 0]),
    "fused_attention": (BLUE, [2, 3]),
    "lstm": (ORANGE, [1, 0]),
    "convolution": (STRONG, [1, 0]),
    "dilated": (STRONG, [5, 3]),
    "restricted": (PURPLE, [1, 0]),
}


@dataclass(frozen=True)
class Table:
    """Rows of text under a header, with notes; `name` is also that of its figure, if it has one."""

    name: str
    title: str
    notes: list[str]
    header: list[str]
    rows: list[list[str]]


def write_report(settings: Settings, results: dict[str, Any], folder: Path) -> Path:
    """Write every file of the report and return the page's path."""
    settings = _as_measured(settings, results)
    findings = find(settings, results)
    tables = make_tables(settings, findings)
    figures = {figure.name: figure for figure in draw_figures(settings, results)}
    for figure in figures.values():
        write_text(folder / f"{figure.name}.svg", standalone(figure.wide))
    write_text(folder / "table.md", markdown(settings.question, headline(findings), tables))
    sections = [
        Section(table.name, table.title, _grid(table), notes=table.notes, figure=figures.get(table.name))
        for table in tables
    ]
    sections.append(Section("provenance", "Provenance", _grid(_provenance(settings, results)), facts=True))
    write_text(folder / "index.html", sheet(settings.question, headline(findings), sections, []))
    return folder / "index.html"


def publish_layers() -> list[Path]:
    """Publish the measurements of Table 1 and return the paths. Raises UserError where nothing is measured yet."""
    measured = STUDY / "results/layers.json"
    if not measured.is_file():
        raise UserError(f"{measured} is missing; measure first: python -m experiments layers --stage measure")
    return write_published(read_settings(STUDY / "layers.yaml"), read_json(measured), published_folder(STUDY.name))


def write_published(settings: Settings, results: dict[str, Any], folder: Path) -> list[Path]:
    """Write what git keeps, the measurements, their tables and the figure of time, and return the paths."""
    settings = _as_measured(settings, results)
    findings = find(settings, results)
    tables = [*make_tables(settings, findings), _provenance(settings, results)]
    time = next(figure for figure in draw_figures(settings, results) if figure.name == "time")
    texts = {
        "layers.json": json.dumps(results, ensure_ascii=False, separators=(",", ":")) + "\n",
        "table.md": markdown(settings.question, headline(findings), tables),
        "time.svg": standalone(time.wide),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def headline(findings: list[Finding]) -> str:
    """Return the finding in one sentence."""
    by_key = {finding.kind.key: finding for finding in findings}
    time = {key: finding.of_n["time"].value for key, finding in by_key.items()}
    path = {key: finding.path[max(finding.path)] for key, finding in by_key.items()}
    longest = max(by_key["lstm"].path)
    return (
        f"In long sentences time grows as n^{time['self_attention']:.2f} in self-attention, "
        f"n^{time['restricted']:.2f} in restricted self-attention, n^{time['lstm']:.2f} in an LSTM and "
        f"n^{time['convolution']:.2f} in a convolution. Between {longest} tokens the longest path is "
        f"{path['self_attention']}, {path['restricted']}, {path['lstm']} and {path['convolution']} in the same order, "
        f"and {path['dilated']} in a dilated convolution."
    )


def make_tables(settings: Settings, findings: Sequence[Finding]) -> list[Table]:
    """Return the paper's table beside the measurements, then one table per measure."""
    return [
        _overview(settings, findings),
        _times(settings, findings),
        _memory(findings),
        _operations(findings),
        _paths(settings, findings),
    ]


def markdown(question: str, headline: str, tables: Sequence[Table]) -> str:
    """Return all tables with their notes as Markdown."""
    parts = [f"# {question}", headline]
    for table in tables:
        parts += [f"## {table.title}", markdown_grid(_grid(table)), "\n".join(f"* {note}" for note in table.notes)]
    return "\n\n".join(parts) + "\n"


def draw_figures(settings: Settings, results: dict[str, Any]) -> list[Figure]:
    """Draw time, memory and operations against n and d, and paths against n, on logarithmic axes."""
    ranges = f"First over n at d = {settings.width}, then over d at n = {settings.length}."
    time = f"The fastest of {settings.repeats} passes forward and backward over one sentence, one thread. {ranges}"
    memory = f"Peak bytes of tensors during such a pass. {ranges}"
    operations = f"Multiplications and additions of matrix products in such a pass, projections included. {ranges}"
    paths = (
        "Number of layers, in a recurrent layer of steps, after which every output depends on every input; kernel "
        f"{settings.kernel}, window {settings.path_window}."
    )
    path_rows = [
        {"layer": BY_KEY[entry["layer"]].title, "size": entry["n"], "value": entry["path"]}
        for entry in results["paths"]
    ]
    wide, narrow = (
        _panel(path_rows, "n", "layers or steps", width, legend=columns) for width, columns in ((560, 3), (250, 1))
    )
    return [
        _measure_figure("time", "Time", time, "seconds", settings, results),
        _measure_figure("memory", "Memory", memory, "bytes", settings, results),
        _measure_figure("operations", "Operations", operations, "operations", settings, results),
        Figure("paths", "Path lengths", paths, render_svg(wide), render_svg(narrow)),
    ]


def _overview(settings: Settings, findings: Sequence[Finding]) -> Table:
    lengths, longest = (settings.lengths[0], settings.lengths[-1]), settings.path_lengths[-1]
    rows = [
        [
            finding.kind.title,
            finding.kind.paper.complexity,
            f"n^{finding.of_n['mixing'].value:.2f} d^{finding.of_d['mixing'].value:.2f}",
            f"n^{finding.of_n['time'].value:.2f} d^{finding.of_d['time'].value:.2f}",
            finding.kind.paper.sequential_operations,
            " → ".join(f"{finding.chain[n]:,}" for n in lengths),
            _path_claim(finding),
            f"{finding.path[longest]:,}",
        ]
        for finding in findings
    ]
    header = ["layer", "paper: complexity", "operations", "time", "paper: sequential", "chain", "paper: path", "path"]
    notes = [
        "Operations: those that the paper's O() counts, forward and backward. Time: of a whole layer, projections "
        f"included. Chain: the longest chain of dependent operations at n = {lengths[0]} and {lengths[1]}. Path: "
        f"number of layers, in the LSTM of steps, after which each of {longest} tokens has reached every other.",
        "The LSTM runs in one direction. Its chain is counted on unfused steps; a fused kernel does the same steps "
        "inside one node.",
        f"Restricted attention covers r = {2 * settings.window + 1} tokens, except for the path lengths. Its band is "
        f"computed in blocks of {settings.window} queries and {3 * settings.window} keys.",
    ]
    return Table("table1", "Table 1, measured", notes, header, rows)


def _times(settings: Settings, findings: Sequence[Finding]) -> Table:
    rows = [[f.kind.title, f.kind.paper.complexity, *_exponents(f, "time")] for f in findings]
    notes = [
        f"Exponents over n from {settings.fit_length} at d = {settings.width}, and d from {settings.fit_width} at "
        f"n = {settings.length}; in brackets the fit's 95 % confidence interval. At the end: between the two largest "
        "sizes.",
        "O() is a statement about unbounded n and d. An interval shows how well a single power fits the measured "
        "sizes, not how the time continues beyond them.",
        *unreached(findings),
    ]
    return Table("time", "Time", notes, ["layer", "paper", *AXES], rows)


def _memory(findings: Sequence[Finding]) -> Table:
    rows = [[f.kind.title, *_exponents(f, "memory")] for f in findings]
    note = (
        "The paper makes no claim. Unfused attention keeps its scores and weights for the backward pass, n^2 of them; "
        "the fused kernel recomputes them block by block. The gradients of the weights, d^2 of them, are included."
    )
    return Table("memory", "Memory", [note], ["layer", *AXES], rows)


def _operations(findings: Sequence[Finding]) -> Table:
    header = ["layer", "paper", "mixing: n", "mixing: d", "layer: n", "at the end", "layer: d", "at the end"]
    rows = []
    for finding in findings:
        fits = finding.of_n, finding.of_d
        mixing = [f"{exponents['mixing'].value:.2f}" for exponents in fits]
        layer = [f"{power:.2f}" for exponents in fits for power in _value_and_end(exponents["operations"])]
        share = f"{finding.mixing_share:.0%}"
        rows.append([finding.kind.title, finding.kind.paper.complexity, *mixing, *layer, share])
    note = (
        "Counted by torch, forward and backward. Mixing is what the paper's O() counts; the whole layer also has "
        "linear projections, of n d^2, which O() leaves out. Their share falls as n grows relative to d."
    )
    return Table("operations", "Operations", [note], [*header, "share of mixing"], rows)


def _paths(settings: Settings, findings: Sequence[Finding]) -> Table:
    rows = [
        [f.kind.title, _path_claim(f), *(f"{f.path[n]:,}" for n in settings.path_lengths), _growth(f)]
        for f in findings
        if not f.kind.path_of
    ]
    notes = [
        "The number of layers after which every output has a gradient from every input, measured and not derived; in a "
        f"recurrent layer, which needs one, its steps. Kernel k = {settings.kernel}; restricted attention covers "
        f"{settings.path_window} positions on either side here.",
        "Dilations double from layer to layer for any kernel, as in ByteNet, so paths grow as log_2 n; the paper's "
        "log_k n needs dilations that grow k-fold.",
    ]
    header = ["layer", "paper", *(f"n = {n}" for n in settings.path_lengths), "growth"]
    return Table("paths", "Path lengths", notes, header, rows)


def _exponents(finding: Finding, measure: str) -> list[str]:
    return [text for fits in (finding.of_n, finding.of_d) for text in (str(fits[measure]), f"{fits[measure].end:.2f}")]


def _value_and_end(exponent: Exponent) -> tuple[float, float]:
    return exponent.value, exponent.end


def _path_claim(finding: Finding) -> str:
    """Return the paper's claim; contiguous kernels have theirs in its text (section 4)."""
    return "O(n/k)" if finding.kind.key == "convolution" else finding.kind.paper.maximum_path_length


def _growth(finding: Finding) -> str:
    """Return how paths grow between the longest sentences: none, per token, or per doubling."""
    (_, first), (n, path), (longer, longer_path) = sorted(finding.path.items())[-3:]
    if longer_path == path:
        return "none"
    if longer_path - path <= path - first:
        return f"{longer_path - path} per doubling"
    return f"{(longer_path - path) / (longer - n):.2g} per token"


def _measure_figure(
    name: str, title: str, caption: str, unit: str, settings: Settings, results: dict[str, Any]
) -> Figure:
    """Draw a measure against n and d, side by side, or stacked for a phone."""
    over_n, over_d = (_measure_rows(settings, results, name, axis) for axis in ("n", "d"))
    wide = alt.hconcat(_panel(over_n, "n", unit, 400, legend=3), _panel(over_d, "d", unit, 300), spacing=30)
    narrow = alt.vconcat(_panel(over_n, "n", unit, 240, legend=1), _panel(over_d, "d", unit, 240), spacing=20)
    caption = f"{caption} Dotted grey: linear and quadratic growth."
    return Figure(name, title, caption, render_svg(wide), render_svg(narrow))


def _measure_rows(settings: Settings, results: dict[str, Any], measure: str, axis: str) -> Rows:
    return [
        {"layer": kind.title, "size": row[axis], "value": MEASURES[measure](row)}
        for kind in LAYERS
        for row in rows_along(settings, results, kind.key, axis)
    ]


def _panel(rows: Rows, axis: str, unit: str, width: int, legend: int = 0) -> alt.LayerChart | alt.FacetChart:
    """Draw one line per layer; legend: its number of columns, 0 for none."""
    drawn = {row["layer"] for row in rows}
    styles = {BY_KEY[key].title: style for key, style in STYLES.items() if BY_KEY[key].title in drawn}
    titles = list(styles)
    key = alt.Legend(
        title=None, orient="top", columns=legend, labelColor=INK, labelFontSize=12, symbolType="stroke",
        symbolSize=300, symbolStrokeWidth=2.2, labelLimit=240,
    ) if legend else None  # fmt: skip
    sizes = sorted({row["size"] for row in rows})
    ticks = [size for size in sizes if size & (size - 1) == 0] if axis == "d" or sizes[0] % 2 == 0 else sizes
    x = alt.X(
        "size:Q",
        title=axis,
        scale=alt.Scale(type="log", domain=[sizes[0], sizes[-1]], nice=False, padding=6),
        axis=alt.Axis(values=ticks, format="d", grid=False),
    )
    y = alt.Y(
        "value:Q",
        title=unit,
        scale=alt.Scale(type="log", nice=False, padding=6),
        axis=alt.Axis(format=".1~s", tickCount=6),
    )
    inks = alt.Scale(domain=titles, range=[ink for ink, _ in styles.values()])
    dashes = alt.Scale(domain=titles, range=[dash for _, dash in styles.values()])
    base = alt.Chart(chart_data(rows)).encode(x=x, y=y, color=alt.Color("layer:N", scale=inks, legend=key))
    lines = base.mark_line(strokeWidth=2).encode(strokeDash=alt.StrokeDash("layer:N", scale=dashes, legend=key))
    points = base.mark_point(filled=True, size=26, opacity=1)
    return alt.layer(*_powers(rows, sizes, x, y), lines, points).properties(
        width=width, height=290 if width > 250 else 190
    )


def _powers(rows: Rows, sizes: list[int], x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """Draw linear and quadratic growth from just above the lowest value."""
    low, high = min(row["value"] for row in rows), max(row["value"] for row in rows)
    start = low * 1.1
    lines = []
    for power in (1, 2):
        ends = [{"size": size, "value": start * (size / sizes[0]) ** power} for size in (sizes[0], sizes[-1])]
        if ends[1]["value"] > high:
            ends[1] = {"size": sizes[0] * (high / start) ** (1 / power), "value": high}
        line = alt.Chart(chart_data(ends)).mark_line(color=QUIET, strokeWidth=1.2, strokeDash=[2, 3])
        lines.append(line.encode(x=x, y=y))
    return lines


def _as_measured(settings: Settings, results: dict[str, Any]) -> Settings:
    """Return the settings with the number of passes that were timed."""
    return replace(settings, repeats=len(results["rows"][0]["seconds"]))


def _grid(table: Table) -> Grid:
    numeric = [False, *(all(_number(row[place]) for row in table.rows) for place in range(1, len(table.header)))]
    rows = [[TableCell(text, _number(text)) for text in row] for row in table.rows]
    return Grid(table.header, rows, numeric)


def _number(text: str) -> float | None:
    """Return the number that a cell begins with, by which it sorts."""
    match = re.match(r"[\d,]+(\.\d+)?", text)
    return float(match.group().replace(",", "")) if match else None


def _provenance(settings: Settings, results: dict[str, Any]) -> Table:
    versions = ", ".join(f"{name} {results['versions'][name]}" for name in ("python", "torch"))
    load = f"{results['load_before']} before, {results['load_after']} after, of which the measurement itself is one"
    facts = [
        ["Measured", results["measured_at"]],
        ["Commit of the code", results["git_commit"]],
        ["Machine", results["machine"]],
        ["Device", f"{results['device']}, {results['threads']} thread"],
        ["Load of the machine", load],
        ["Versions", versions],
        ["Layers", f"{settings.heads} heads, kernel {settings.kernel}, window {settings.window}, float32"],
        ["Passes", f"the fastest of {settings.repeats}, one sentence per pass; on a CPU, processor time"],
    ]
    return Table("provenance", "Provenance", [], ["fact", "value"], facts)
