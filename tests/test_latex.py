"""table.tex holds together as LaTeX: rows of one width, braces and dollars in pairs, nothing special unescaped."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.reporting.results import read_results
from experiments.reporting.summary import summarise
from experiments.reporting.tables import latex
from tests.synthetic_study import write_study


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    study = write_study(tmp_path)
    summary = summarise(study, read_results(study), ["chrfpp", "ter"])
    rows = [replace(row, change=row.change + " & 5 % of #3") for row in summary.rows]
    return latex(replace(summary, rows=rows)).splitlines()


def test_the_table_is_booktabs_with_rows_of_one_width(lines: list[str]) -> None:
    code = [line for line in lines if not line.startswith("%")]
    opening = re.fullmatch(r"\\begin\{tabular\}\{([lr]+)\}", code[0])
    assert opening
    assert code[-1] == "\\end{tabular}"
    assert [code[1], code[3], code[-2]] == ["\\toprule", "\\midrule", "\\bottomrule"]
    for row in [code[2], *code[4:-2]]:
        assert row.endswith(" \\\\")
        assert len(re.findall(r"(?<!\\)&", row)) == len(opening.group(1)) - 1


def test_braces_and_dollars_are_in_pairs_and_special_signs_escaped(lines: list[str]) -> None:
    for line in lines:
        if line.startswith("%"):
            continue
        plain = re.sub(r"\\[\\{}_%&#$]", "", line)
        assert plain.count("{") == plain.count("}")
        assert plain.count("$") % 2 == 0
        outside = re.sub(r"\$[^$]*\$", "", plain)
        assert not re.search(r"[_%#^~<>]", outside)
        assert not set(plain) & set("Δ±→−")
