"""Two studies side by side: Welch and paired by their formulas, revisions through git, nothing mixed in a column."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from synthetic_study import write_study
from test_page import Outline
from two_studies import rename, write_two

from experiments.commands import compare
from experiments.commands.compare import grid, notes
from experiments.reporting.revisions import Side, read_side
from experiments.reporting.side_by_side import SAME, between, how_made, side_by_side
from lit_transformer.errors import UserError

NAMES = ["base", "one_head", "pre_norm"]


def git(*arguments: str) -> str:
    own = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *own, *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose first commit holds a study, and whose work tree has one_head 2 BLEU better."""
    monkeypatch.chdir(tmp_path)
    write_study(tmp_path, names=NAMES)
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first results")
    change("made_up", "one_head", lambda split: split | {"bleu": split["bleu"] + 2})
    return tmp_path


def change(name: str, variant: str, to) -> None:
    for path in Path("experiments/studies", name, "results", variant).rglob("scores.json"):
        content = json.loads(path.read_text())
        content["splits"] = {split: to(own) for split, own in content["splits"].items()}
        path.write_text(json.dumps(content))


def sides(a: str, b: str, folder: Path) -> tuple[Side, Side]:
    return read_side(a, folder / "a"), read_side(b, folder / "b")


def test_welch_is_its_formula_where_no_seed_is_shared() -> None:
    a, b = {0: 27.1, 1: 27.4, 2: 26.9}, {3: 28.0, 4: 28.9, 5: 28.1, 6: 28.3}
    found = between(a, b)
    assert found is not None
    one, other = np.array(list(a.values())), np.array(list(b.values()))
    variances = one.var(ddof=1) / 3, other.var(ddof=1) / 4
    degrees = sum(variances) ** 2 / (variances[0] ** 2 / 2 + variances[1] ** 2 / 3)
    half = stats.t.ppf(0.975, degrees) * np.sqrt(sum(variances))
    mean = other.mean() - one.mean()
    assert found.how == "Welch, 4 and 3 seeds"
    assert (found.difference.low, found.difference.high) == pytest.approx((mean - half, mean + half))
    assert found.p == pytest.approx(2 * stats.t.sf(mean / np.sqrt(sum(variances)), degrees))


def test_shared_seeds_are_paired() -> None:
    found = between({0: 10.0, 1: 20.0, 2: 30.0}, {0: 11.0, 1: 21.5, 2: 30.5, 3: 99.0})
    assert found is not None
    assert found.how == "paired, 3 seeds"
    assert found.difference.mean == pytest.approx(1.0)
    assert found.p == pytest.approx(stats.ttest_1samp([1.0, 1.5, 0.5], 0).pvalue)


def test_one_seed_has_no_interval_and_no_test() -> None:
    found = between({0: 10.0}, {0: 12.0})
    assert found is not None
    assert (found.difference.mean, found.difference.low, found.p, found.how) == (2.0, None, None, "one seed")
    assert between({}, {0: 1.0}) is None


def test_a_revision_is_read_through_git_and_the_work_tree_left_alone(committed: Path, tmp_path: Path) -> None:
    before = git("status", "--porcelain")
    found = side_by_side(*sides("made_up@HEAD", "made_up", tmp_path / "out"))
    assert git("status", "--porcelain").replace("?? out/\n", "") == before
    assert found.alike
    lines = {line.variant: line for line in found.lines}
    one = lines["one_head"]
    assert one.gap is not None
    assert one.gain is not None
    assert one.gap.difference.mean == pytest.approx(2.0)
    assert one.gain.difference.mean == pytest.approx(2.0)
    assert one.p_holm == 0.0
    assert [lines[name].gap.how for name in ("base", "pre_norm")] == [SAME, SAME]  # type: ignore[union-attr]
    assert lines["base"].gain is None


def test_how_they_were_made_names_what_differs_alone(committed: Path, tmp_path: Path) -> None:
    path = Path("experiments/studies/made_up/study.yaml")
    path.write_text(
        path.read_text().replace("d_model: 128", "d_model: 64").replace("placement: pre", "placement: post")
    )
    for record in Path("experiments/studies/made_up/results").rglob("training.json"):
        record.write_text(record.read_text().replace("0123456789ab", "ba9876543210"))
    differing, same = how_made(side_by_side(*sides("made_up@HEAD", "made_up", tmp_path / "out")))
    rows = {name: (one, other) for name, one, other in differing}
    assert rows["base.model.d_model"] == ("128", "64")
    assert rows["variants.pre_norm.model.norm.placement"] == ("pre", "post")
    assert rows["Commit of the code"] == ("0123456789ab", "ba9876543210")
    assert "base.model.attention.heads" not in rows
    assert "Data (sha256)" in same


@pytest.mark.parametrize("what", ["split", "signature", "data", "sentences"])
def test_what_may_not_share_a_column_never_does(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_study(tmp_path, names=NAMES)
    rename(tmp_path, "one", "grammar")
    write_study(tmp_path, names=NAMES)
    options = {"split": {"split": "test2016"}, "data": {"data_hash": "beef"}}
    rename(tmp_path, "two", "grammar", **options.get(what, {}))  # type: ignore[arg-type]
    for variant in NAMES:
        if what == "signature":
            change("two", variant, lambda own: own | {"bleu_signature": "nrefs:1|tok:intl"})
        if what == "sentences":
            change("two", variant, lambda own: own | {"sentences": 7})
    found = side_by_side(*sides("one", "two", tmp_path / "out"))
    assert not found.alike
    assert all(line.gap is None and line.gain is None for line in found.lines)
    titles = grid(found).titles
    assert titles == ["variant", "ΔA [95 %]", "A says", "ΔB [95 %]", "B says"]
    told = " ".join(notes(found))
    assert {"split": "test set", "data": "data"}.get(what, what) + ": " in told


def test_studies_that_share_corpus_and_measure_are_subtracted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        write_study(tmp_path, names=NAMES)
        rename(tmp_path, name, "grammar", score=(lambda bleu: bleu) if name == "one" else (lambda bleu: bleu - 1))
    found = side_by_side(*sides("one", "two", tmp_path / "out"))
    assert found.alike
    line = next(line for line in found.lines if line.variant == "one_head")
    assert line.gap is not None
    assert line.gain is not None
    assert line.gap.difference.mean == pytest.approx(-1.0)
    assert line.gain.difference.mean == pytest.approx(0.0)
    assert "B − A [95 %]" in grid(found).titles


def test_the_command_writes_the_same_page_twice(committed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("runs/report/compare-made_up_HEAD-made_up/index.html")
    compare.main(["made_up@HEAD", "made_up"])
    first = path.read_bytes()
    compare.main(["made_up@HEAD", "made_up"])
    assert path.read_bytes() == first
    told = capsys.readouterr().out
    assert "first results" in told
    assert SAME in told
    outline = Outline(first.decode())
    assert outline.open == []
    assert outline.loads == ["href=data:,"]
    assert len(outline.ids) == len(set(outline.ids))


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ("made_up", "made_up", "A and B are both made_up"),
        ("made_upp", "made_up", "did you mean 'made_up'"),
        ("made_up@nowhere", "made_up", "git knows no revision 'nowhere'"),
        ("made_up@", "made_up", "git knows no revision ''"),
        ("made_up@--all", "made_up", "git knows no revision '--all'"),
        ("mad@HEAD", "made_up", "no study 'mad' at that revision"),
        ("empty@HEAD", "made_up", "empty had no results at that revision"),
        ("other", "made_up", "share no variant"),
    ],
)
def test_mistakes_are_one_line(committed: Path, a: str, b: str, message: str) -> None:
    for name in ("empty", "other"):
        folder = Path("experiments/studies", name)
        folder.mkdir()
        text = Path("experiments/studies/made_up/study.yaml").read_text().replace("name: made_up", f"name: {name}")
        for variant in NAMES if name == "other" else ():
            text = text.replace(f"  {variant}:", f"  other_{variant}:")
        (folder / "study.yaml").write_text(
            text.replace("baseline: base", f"baseline: {'other_' * (name == 'other')}base")
        )
    git("add", "experiments/studies/empty")
    git("commit", "-q", "-m", "a study without results")
    results = Path("experiments/studies/other/results/other_base")
    source = Path("experiments/studies/made_up/results/base")
    for path in [path for path in source.rglob("*") if path.is_file()]:
        target = results / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    with pytest.raises(UserError, match=message) as caught:
        compare.main([a, b])
    assert "\n" not in str(caught.value)


def test_outside_a_repository_a_revision_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    write_two(tmp_path, names=NAMES)
    with pytest.raises(UserError, match="git knows no revision 'HEAD' here"):
        compare.main(["cheap@HEAD", "cheap"])
