"""README and docs/: links lead somewhere, and every command, option, study and target they name exists."""

import ast
import contextlib
import io
import re
import shlex
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

import experiments.__main__ as entry
from experiments.config.study import load_study

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
MAX_README_LINES = 120
COMMANDS = {name for group in entry.COMMANDS.values() for name in group}

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def code_lines(page: Path) -> list[str]:
    """Return the lines of code blocks, without comments and continued lines joined, and the inline code."""
    fences = re.compile(r"^[ ]*```\w*\n(.*?)^[ ]*```$", re.DOTALL | re.MULTILINE)
    blocks = "\n".join(block.replace("\\\n", " ") for block in fences.findall(text_of(page)))
    prose = fences.sub("", text_of(page))
    return [re.sub(r"(^|\s)#.*", "", line) for line in blocks.splitlines()] + re.findall(r"`([^`\n]+)`", prose)


def calls(page: Path) -> list[tuple[str, list[str]]]:
    """Return every call of `python -m experiments COMMAND` on a page: the command and its arguments."""
    found = []
    for line in code_lines(page):
        for call in re.findall(r"-m experiments ([a-z][^<>|;&]*)", line):
            quoted = call.rpartition('"')[0] if call.count('"') % 2 else call  # the end of sbatch --wrap "..."
            command, *words = shlex.split(quoted)
            found.append((command, words))
    return found


@cache
def options_of(command: str) -> set[str]:
    """Return the options in the usage that `python -m experiments COMMAND --help` prints."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr(sys, "argv", ["experiments", command, "--help"])
        patch.chdir(ROOT)
        with pytest.raises(SystemExit):
            entry.main()
    usage = out.getvalue().partition("\n\n")[0]
    return set(re.findall(r"--[a-z][a-z-]*", usage))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_readme_is_short() -> None:
    assert len(text_of(README).splitlines()) <= MAX_README_LINES


def test_every_page_is_linked_from_the_readme() -> None:
    assert {page.name for page in PAGES[1:]} <= set(re.findall(r"\(docs/([\w.]+)", text_of(README)))


@pages
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if re.match(r"[a-z]+://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target} does not exist"
        assert not anchor or anchor in anchors(file), f"{page.name}: {target} has no such heading"


@pages
def test_commands_and_options_exist(page: Path) -> None:
    for command, words in calls(page):
        assert command in COMMANDS, f"{page.name}: there is no command '{command}'"
        for word in words:
            option = word.partition("=")[0]
            if option.startswith("--"):
                assert option in options_of(command), f"{page.name}: {command} has no option {option}"


@pages
def test_studies_and_variants_exist(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for _, words in calls(page):
        options = dict(pairwise(words))
        if not re.fullmatch(r"[a-z]\w*", options.get("--study", "")):  # no study, or a placeholder such as S
            continue
        study = load_study(options["--study"])
        assert study.name == options["--study"]
        for variant in options.get("--variant", "").split(",") if "--variant" in options else ():
            assert variant in study.variants, f"{page.name}: {study.name} has no such variant"
            study.config(variant, study.seeds[0], [word for word in words if re.match(r"[\w.]+=", word)])


@pages
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in code_lines(page):
        for target in re.findall(r"(?:^|&& |\s)make ([a-z][a-z-]*)", line):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page.name}: there is no target '{target}'"


def made_by_dvc(path: str) -> bool:
    """Say whether a path is an output of a stage, which a fresh clone does not have."""
    parts = Path(path).parts
    return parts[:2] == ("experiments", "studies") and bool({"models", "results", "report"} & set(parts))


@pages
def test_files_of_the_project_exist(page: Path) -> None:
    for code in re.findall(
        r"`((?:lit_transformer|data_modules|experiments|benchmarks|examples|tests)/[\w./-]+)`", text_of(page)
    ):
        assert made_by_dvc(code) or (ROOT / code).exists(), f"{page.name}: {code} does not exist"


def test_the_paper_map_names_what_is_there() -> None:
    rows = [line.split("|") for line in text_of(ROOT / "docs/paper_map.md").splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 20
    for *_, file, names, _ in rows:
        (path,) = re.findall(r"`([^`]+)`", file)
        source = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        defined = {node.name for node in source.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
        named = set(re.findall(r"`([^`]+)`", names))
        assert named, f"{path}: no name"
        assert named <= defined, f"{path} does not define {named - defined}"
