"""The tables of the report: as rows of text for the page and for Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.layer_costs.findings import Finding
from experiments.layer_costs.settings import Settings


@dataclass(frozen=True)
class Table:
    """Rows of text under a header, and sentences that say what they are; `name` is its figure's too, if it has one."""

    name: str
    title: str
    about: list[str]
    header: list[str]
    rows: list[list[str]]


def tables(settings: Settings, findings: Sequence[Finding]) -> list[Table]:
    """Return the tables: the paper's with what was measured, then each measure by itself."""
    sizes = (
        f"n from {settings.fit_length} at d = {settings.width}; d from {settings.fit_width} at n = {settings.length}"
    )
    return [
        _overview(settings, findings),
        _timed(findings, sizes),
        _held(findings),
        _counted(findings),
        _far(settings, findings),
    ]


def _overview(settings: Settings, findings: Sequence[Finding]) -> Table:
    lengths, longest = (settings.lengths[0], settings.lengths[-1]), settings.path_lengths[-1]
    rows = [
        [
            found.kind.title,
            found.kind.paper.complexity,
            f"n^{found.of_n['mixing'].value:.2f} d^{found.of_d['mixing'].value:.2f}",
            f"n^{found.of_n['time'].value:.2f} d^{found.of_d['time'].value:.2f}",
            found.kind.paper.sequential_operations,
            " → ".join(f"{found.chain[n]:,}" for n in lengths),
            path_claim(found),
            f"{found.path[longest]:,}",
        ]
        for found in findings
    ]
    header = ["layer", "paper: complexity", "operations", "time", "paper: sequential", "chain", "paper: path", "path"]
    about = (
        "Operations: those that the paper's O() counts, forward and backward. Time: of a whole layer, projections "
        f"included. Chain: operations that wait for each other, at n = {lengths[0]} and {lengths[1]}. Path: layers, or "
        f"in the LSTM steps, after which each of {longest} tokens has met every other."
    )
    return Table("table1", "Table 1, measured", [about], header, rows)


def _timed(findings: Sequence[Finding], sizes: str) -> Table:
    rows = [[f.kind.title, f.kind.paper.complexity, *_both(f, "time")] for f in findings]
    about = f"Exponents over {sizes}; in brackets the fit's 95 % interval. At the end: between the two largest sizes."
    return Table("time", "Time", [about], ["layer", "paper", *AXES], rows)


def _held(findings: Sequence[Finding]) -> Table:
    about = (
        "The paper makes no claim. Step by step attention keeps its scores and weights for the backward pass, n^2 of "
        "them; the fused kernel makes them again, block by block. The gradients of weights, of d^2, are held too."
    )
    return Table("memory", "Memory", [about], ["layer", *AXES], [[f.kind.title, *_both(f, "memory")] for f in findings])


def _counted(findings: Sequence[Finding]) -> Table:
    about = (
        "Counted by torch, forward and backward. Mixing is what the paper's O() counts; the whole layer has linear "
        "projections beside it, of n d^2, which O() leaves out. Their share falls as n grows against d."
    )
    header = [
        "layer",
        "paper",
        "mixing: n",
        "mixing: d",
        "layer: n",
        "at the end",
        "layer: d",
        "at the end",
        "mixing's share",
    ]
    rows = []
    for found in findings:
        mixing = [f"{fits['mixing'].value:.2f}" for fits in (found.of_n, found.of_d)]
        whole = [
            f"{x:.2f}" for fits in (found.of_n, found.of_d) for x in (fits["operations"].value, fits["operations"].end)
        ]
        rows.append([found.kind.title, found.kind.paper.complexity, *mixing, *whole, f"{found.mixing_share:.0%}"])
    return Table("operations", "Operations", [about], header, rows)


AXES = ["of n", "at the end", "of d", "at the end"]


def _both(found: Finding, measure: str) -> list[str]:
    return [text for fits in (found.of_n, found.of_d) for text in (str(fits[measure]), f"{fits[measure].end:.2f}")]


def _far(settings: Settings, findings: Sequence[Finding]) -> Table:
    rows = [
        [f.kind.title, path_claim(f), *(f"{f.path[n]:,}" for n in settings.path_lengths), _growth(f)]
        for f in findings
        if not f.kind.path_of
    ]
    about = (
        "The layers after which every token's output has a gradient from every input, followed and not derived; in a "
        f"recurrent layer, which needs one, its steps. Kernel k = {settings.kernel}; restricted attention sees "
        f"{settings.path_window} places on either side here."
    )
    header = ["layer", "paper", *(f"n = {n}" for n in settings.path_lengths), "grows"]
    return Table("paths", "Longest paths", [about], header, rows)


def markdown(question: str, headline: str, made: Sequence[Table]) -> str:
    """Return all tables and what is said of them as Markdown."""
    parts = [f"# {question}", headline]
    for table in made:
        lines = ["| " + " | ".join(row) + " |" for row in [table.header, ["---"] * len(table.header), *table.rows]]
        parts += [f"## {table.title}", "\n".join(lines), "\n".join(f"* {note}" for note in table.about)]
    return "\n\n".join(parts) + "\n"


def path_claim(found: Finding) -> str:
    """Return the paper's claim; contiguous kernels have theirs in its text (section 4)."""
    return "O(n/k)" if found.kind.key == "convolution" else found.kind.paper.maximum_path_length


def _growth(found: Finding) -> str:
    """Say how paths grow between the longest sentences: not at all, by so much a token, or a doubling."""
    (_, first), (n, path), (longer, more) = sorted(found.path.items())[-3:]
    if more == path:
        return "not at all"
    if more - path <= path - first:
        return f"by {more - path} a doubling"
    return f"by {(more - path) / (longer - n):.2g} a token"
