"""Two studies side by side: Welch and paired by their formulas, revisions through git, nothing mixed in a column."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from experiments.commands import compare
from experiments.reporting.comparison_report import grid, notes
from experiments.reporting.published import published_path, write_published
from experiments.reporting.side_by_side import SAME, StudyComparison, between, how_made, side_by_side
from experiments.reporting.study_results import read_study_results
from lit_transformer.errors import UserError
from tests.page_outline import Outline
from tests.synthetic_study import write_study
from tests.two_studies import rename, write_two

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


def compared(a: str, b: str) -> StudyComparison:
    return side_by_side(read_study_results(a), read_study_results(b))


def publish(name: str) -> Path:
    at_hand = read_study_results(name)
    return write_published(at_hand.study, at_hand.results, at_hand.summary)


def test_welch_is_its_formula_where_no_seed_is_shared() -> None:
    a, b = {0: 27.1, 1: 27.4, 2: 26.9}, {3: 28.0, 4: 28.9, 5: 28.1, 6: 28.3}
    found = between(a, b)
    assert found is not None
    scores_a, scores_b = np.array(list(a.values())), np.array(list(b.values()))
    variances = scores_a.var(ddof=1) / 3, scores_b.var(ddof=1) / 4
    degrees = sum(variances) ** 2 / (variances[0] ** 2 / 2 + variances[1] ** 2 / 3)
    half = stats.t.ppf(0.975, degrees) * np.sqrt(sum(variances))
    mean = scores_b.mean() - scores_a.mean()
    assert found.test == "Welch, 4 and 3 seeds"
    assert (found.difference.low, found.difference.high) == pytest.approx((mean - half, mean + half))
    assert found.p == pytest.approx(2 * stats.t.sf(mean / np.sqrt(sum(variances)), degrees))


def test_shared_seeds_are_paired() -> None:
    found = between({0: 10.0, 1: 20.0, 2: 30.0}, {0: 11.0, 1: 21.5, 2: 30.5, 3: 99.0})
    assert found is not None
    assert found.test == "paired, 3 seeds"
    assert found.difference.mean == pytest.approx(1.0)
    assert found.p == pytest.approx(stats.ttest_1samp([1.0, 1.5, 0.5], 0).pvalue)


def test_one_seed_has_no_interval_and_no_test() -> None:
    found = between({0: 10.0}, {0: 12.0})
    assert found is not None
    assert (found.difference.mean, found.difference.low, found.p, found.test) == (2.0, None, None, "one seed")
    assert between({}, {0: 1.0}) is None


def test_a_revision_is_read_through_git_and_the_work_tree_left_alone(committed: Path) -> None:
    before = git("status", "--porcelain")
    found = compared("made_up@HEAD", "made_up")
    assert git("status", "--porcelain") == before
    assert found.comparable
    variants = {own.variant: own for own in found.variants}
    one_head = variants["one_head"]
    assert one_head.bleu is not None
    assert one_head.effect is not None
    assert one_head.bleu.difference.mean == pytest.approx(2.0)
    assert one_head.effect.difference.mean == pytest.approx(2.0)
    assert one_head.p_holm == 0.0
    assert [variants[name].bleu.test for name in ("base", "pre_norm")] == [SAME, SAME]  # type: ignore[union-attr]
    assert variants["base"].effect is None


def test_how_they_were_made_names_what_differs_alone(committed: Path) -> None:
    path = Path("experiments/studies/made_up/study.yaml")
    path.write_text(
        path.read_text().replace("d_model: 128", "d_model: 64").replace("placement: pre", "placement: post")
    )
    for record in Path("experiments/studies/made_up/results").rglob("training.json"):
        record.write_text(record.read_text().replace("0123456789ab", "ba9876543210"))
    differing, same = how_made(compared("made_up@HEAD", "made_up"))
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
    found = compared("one", "two")
    assert not found.comparable
    assert all(own.bleu is None and own.effect is None for own in found.variants)
    titles = grid(found).titles
    assert titles == ["variant", "ΔA [95 %]", "verdict A", "ΔB [95 %]", "verdict B"]
    assert {"split": "test set", "data": "data"}.get(what, what) + ": " in " ".join(notes(found))


def test_studies_that_share_corpus_and_measure_are_subtracted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        write_study(tmp_path, names=NAMES)
        rename(tmp_path, name, "grammar", score=(lambda bleu: bleu) if name == "one" else (lambda bleu: bleu - 1))
    found = compared("one", "two")
    assert found.comparable
    one_head = next(own for own in found.variants if own.variant == "one_head")
    assert one_head.bleu is not None
    assert one_head.effect is not None
    assert one_head.bleu.difference.mean == pytest.approx(-1.0)
    assert one_head.effect.difference.mean == pytest.approx(0.0)
    assert "B − A [95 %]" in grid(found).titles


def test_the_command_writes_the_same_page_twice(committed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("runs/report/compare-made_up_HEAD-made_up/index.html")
    compare.main(["made_up@HEAD", "made_up"])
    first = path.read_bytes()
    compare.main(["made_up@HEAD", "made_up"])
    assert path.read_bytes() == first
    printed = capsys.readouterr().out
    assert "first results" in printed
    assert SAME in printed
    outline = Outline(first.decode())
    assert outline.open == []
    assert outline.loads == ["href=data:,"]
    assert len(outline.ids) == len(set(outline.ids))


def test_published_results_are_compared_as_the_cells_they_were(committed: Path) -> None:
    """Against the results at hand, at a revision that has them in git, and with nothing at hand."""
    publish("made_up")
    at_hand = compared("made_up@published", "made_up")
    assert {own.bleu.test for own in at_hand.variants if own.bleu} == {SAME}
    differing, same = how_made(at_hand)
    assert differing == []
    assert "every setting of study.yaml" in same
    shutil.rmtree("experiments/studies/made_up/results")
    git("add", "-A")
    git("commit", "-q", "-m", "results leave git")
    change_published("made_up", "one_head", 5.0)
    for a, b in (("made_up@HEAD", "made_up"), ("made_up@HEAD", "made_up@published")):
        tests = {own.variant: own.bleu for own in compared(a, b).variants}
        assert tests["one_head"].difference.mean == pytest.approx(5.0)
        assert tests["pre_norm"].test == SAME
    first = {own.variant: own.bleu for own in compared("made_up@HEAD~1", "made_up@HEAD").variants}
    assert first["one_head"].difference.mean == pytest.approx(2.0)
    assert (first["base"].test, first["pre_norm"].test) == (SAME, SAME)


def change_published(name: str, variant: str, better: float) -> None:
    path = published_path(name)
    content = json.loads(path.read_text())
    for cell in content["cells"]:
        if cell["variant"] == variant:
            cell["scores"]["splits"]["test"]["bleu"] += better
    path.write_text(json.dumps(content))


def test_the_command_says_which_results_are_published(committed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published_at = json.loads(publish("made_up").read_text())["published_at"]
    compare.main(["made_up@published", "made_up"])
    printed = capsys.readouterr().out
    assert f"A = made_up@published (published on {published_at})" in printed
    assert "B = made_up (results at hand)" in printed
    shutil.rmtree("experiments/studies/made_up/results")
    compare.main(["made_up@HEAD", "made_up"])
    assert f"B = made_up (published on {published_at}, no results at hand)" in capsys.readouterr().out


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
        ("made_up@published", "made_up", "made_up@published: nothing is published"),
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
