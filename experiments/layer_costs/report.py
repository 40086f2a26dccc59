"""The report of the study: table.md, the pictures and one page that needs no network. Depends on the results alone."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.common.io import write_text
from experiments.layer_costs.findings import Finding, find, unreached
from experiments.layer_costs.settings import Settings
from experiments.layer_costs.tables import Table, markdown, tables
from experiments.reporting.grids import Cell, Grid


def write_report(settings: Settings, results: dict[str, Any], folder: Path) -> Path:
    """Write every file of the report and return the page's path."""
    from experiments.layer_costs.figures import draw
    from experiments.reporting.figures import drawing
    from experiments.reporting.page.sheets import Section, sheet

    settings, findings, made = _findings(settings, results)
    drawn = {figure.name: figure for figure in draw(settings, results)}
    for figure in drawn.values():
        write_text(folder / f"{figure.name}.svg", drawing.standalone(figure.wide))
    write_text(folder / "table.md", markdown(settings.question, headline(findings), made))
    sections = [
        Section(table.name, table.title, _grid(table), notes=table.about, figure=drawn.get(table.name))
        for table in made
    ]
    sections.append(Section("provenance", "How it was made", _grid(_facts(settings, results)), facts=True))
    write_text(folder / "index.html", sheet(settings.question, headline(findings), sections, []))
    return folder / "index.html"


def write_published(settings: Settings, results: dict[str, Any], folder: Path) -> list[Path]:
    """Write what git keeps of the study, the measurements, their table and the figure of time; return the paths."""
    from experiments.layer_costs.figures import draw
    from experiments.reporting.figures import drawing

    settings, findings, made = _findings(settings, results)
    time = next(figure for figure in draw(settings, results) if figure.name == "time")
    texts = {
        "layers.json": json.dumps(results, ensure_ascii=False, separators=(",", ":")) + "\n",
        "table.md": markdown(settings.question, headline(findings), [*made, _facts(settings, results)]),
        "time.svg": drawing.standalone(time.wide),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def _findings(settings: Settings, results: dict[str, Any]) -> tuple[Settings, list[Finding], list[Table]]:
    """Return the settings as measured, what was found, and the tables with their remarks."""
    settings = replace(settings, repeats=len(results["rows"][0]["seconds"]))
    findings = find(settings, results)
    remarked = [
        replace(table, about=table.about + more(table.name, settings, findings)) for table in tables(settings, findings)
    ]
    return settings, findings, remarked


def headline(findings: list[Finding]) -> str:
    """Say the finding in one sentence."""
    by_key = {found.kind.key: found for found in findings}
    time = {key: found.of_n["time"].value for key, found in by_key.items()}
    longest = max(by_key["lstm"].path)
    return (
        f"In long sentences time grows with n^{time['self_attention']:.2f} in self-attention, "
        f"n^{time['restricted']:.2f} where it is restricted, n^{time['lstm']:.2f} in an LSTM and "
        f"n^{time['convolution']:.2f} in a convolution; of {longest} tokens any two are "
        f"{_path(by_key['self_attention'])}, {_path(by_key['restricted'])}, {_path(by_key['lstm'])} and "
        f"{_path(by_key['convolution'])} hops apart, {_path(by_key['dilated'])} where the convolution is dilated."
    )


def more(name: str, settings: Settings, findings: list[Finding]) -> list[str]:
    """Return what else a reader of one table should know before its numbers are believed."""
    match name:
        case "table1":
            return [
                "The LSTM reads in one direction. Its chain is counted with torch's own steps; a fused kernel does the "
                "same steps inside one node.",
                f"Restricted attention sees r = {2 * settings.window + 1} tokens, but for the paths. Its band is cut "
                f"into blocks of {settings.window} queries that meet {3 * settings.window} keys.",
            ]
        case "time":
            return [
                "O() speaks of n and d without bound. An interval says how well one power describes the sizes "
                "measured, not where it goes beyond them.",
                *unreached(findings),
            ]
        case "paths":
            return [
                "Dilations double from layer to layer whatever the kernel, as in ByteNet, so paths grow with log_2 n; "
                "the paper's log_k n needs dilations that grow k-fold."
            ]
        case _:
            return []


def _path(found: Finding) -> int:
    return found.path[max(found.path)]


def _grid(table: Table) -> Grid:
    numeric = [False, *(all(_number(row[place]) for row in table.rows) for place in range(1, len(table.header)))]
    rows = [[Cell(text, _number(text)) for text in row] for row in table.rows]
    return Grid(table.header, rows, numeric)


def _number(text: str) -> float | None:
    """Return what a cell sorts by: the number that it begins with."""
    found = re.match(r"[\d,]+(\.\d+)?", text)
    return float(found.group().replace(",", "")) if found else None


def _facts(settings: Settings, results: dict[str, Any]) -> Table:
    versions = ", ".join(f"{name} {results['versions'][name]}" for name in ("python", "torch"))
    load = f"{results['load_before']} before, {results['load_after']} after; the measurement itself is one"
    facts = [
        ["Measured", results["measured_at"]],
        ["Commit of the code", results["git_commit"]],
        ["Machine", results["machine"]],
        ["Device", f"{results['device']}, {results['threads']} thread"],
        ["Load of the machine", load],
        ["Versions", versions],
        ["Layers", f"{settings.heads} heads, kernel {settings.kernel}, window {settings.window}, float32"],
        [
            "Passes",
            f"{settings.repeats} turns each, the fastest counts; one sentence a pass; a CPU's own time",
        ],
    ]
    return Table("provenance", "How it was made", [], ["fact", "value"], facts)
