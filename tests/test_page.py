"""The page: opens without a network, works without a script, and says what the numbers are and are not."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.reporting.figures.forest import forest_chart
from experiments.reporting.figures.style import Figure, render_svg
from experiments.reporting.formats import duration
from experiments.reporting.headline import headline
from experiments.reporting.page.report import report_page
from experiments.reporting.page.templating import template
from experiments.reporting.provenance import provenance
from experiments.reporting.results import Results, read_results
from experiments.reporting.samples import marked, samples, spread_by_length
from experiments.reporting.summary import Summary, summarise
from tests.page_outline import Outline
from tests.synthetic_study import reference, texts, write_study


def made(root: Path, monkeypatch: pytest.MonkeyPatch, **options: object) -> tuple[Summary, Results]:
    monkeypatch.chdir(root)
    study = write_study(root, **options)  # type: ignore[arg-type]
    results = read_results(study)
    return summarise(study, results), results


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary, Results]:
    root = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        return root, *made(root, patch)


@pytest.fixture
def full(built: tuple[Path, Summary, Results], monkeypatch: pytest.MonkeyPatch) -> tuple[Summary, Results]:
    root, summary, results = built
    monkeypatch.chdir(root)
    return summary, results


def test_the_page_loads_nothing_and_is_well_formed(full: tuple[Summary, Results]) -> None:
    chart = forest_chart(full[0], 200)
    assert chart is not None
    text = report_page(*full, [Figure("forest", "Title", "Caption", render_svg(chart), render_svg(chart))], texts())
    outline = Outline(text)
    assert outline.open == []
    assert outline.loads == ["href=data:,"]
    assert len(outline.ids) == len(set(outline.ids))
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert set(re.findall(r"https?://[^\"' <]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert text.count("<tr") == 13
    assert "prefers-color-scheme: dark" in text


def test_the_first_columns_answer_the_question_and_the_others_wait_behind_the_toggle(
    full: tuple[Summary, Results],
) -> None:
    text = report_page(*full, [])
    table = re.search('<section id="table">.*?</section>', text, re.DOTALL)
    assert table is not None
    titles = re.findall(r'<th scope="col" class="([^"]*)">([^<]*)', table[0])
    first, others = titles[:5], titles[5:]
    assert [title for _, title in first] == ["variant", "what changed", "BLEU test", "Δ BLEU [interval]", "verdict"]
    assert not any("more-column" in classes for classes, _ in first)
    assert others
    assert all("more-column" in classes for classes, _ in others)
    assert table[0].count("<td") == 12 * (len(titles) - 1)
    assert len(re.findall('<td class="[^"]*more-column', table[0])) == 12 * len(others)
    assert '<input type="checkbox" id="all-columns"' in table[0]
    assert "#table:not(:has(#all-columns:checked)) .more-column { display: none; }" in text


def test_a_row_bears_its_label_and_its_name(full: tuple[Summary, Results]) -> None:
    summary, results = full
    rows = [replace(row, label="a single head") if row.variant == "one_head" else row for row in summary.rows]
    text = report_page(replace(summary, rows=rows), results, [])
    assert re.search(r"a single head<code>one_<wbr>head</code>", text)
    assert "<code>pre" not in text


def test_text_of_the_results_is_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = made(tmp_path, monkeypatch, names=["base", "one_head"])
    cell = full[1].of("base")[0].cell
    assert cell is not None
    (cell.translations_folder / "test.txt").write_text("<script>alert(1)</script>\n" * 500)
    text = report_page(*full, [], texts())
    assert "<script>alert" not in text
    assert "&lt;script&gt;" in text


def test_a_long_change_is_folded_and_a_short_one_is_not() -> None:
    shortened = template("parts.html").module.shortened
    assert str(shortened("a 1 → 2, b 1 → 2, c 1 → 2, d <1>")) == "a 1 → 2, b 1 → 2, c 1 → 2, d &lt;1&gt;"
    long = str(shortened("a 1, b 2, c 3, d 4, e 5"))
    assert re.sub("<[^>]*>", "|", long) == "||a 1, b 2, c 3 |and 2 more||d 4, e 5|"


def test_the_page_names_what_is_missing(full: tuple[Summary, Results]) -> None:
    summary, results = full
    holes = replace(summary, missing=["one_head/seed9"], unscored=["pre_norm/seed8"])
    assert headline(holes).endswith("; 2 cells of the study are missing.")
    assert headline(replace(holes, unscored=[])).endswith("; 1 cell of the study is missing.")
    told = report_page(holes, results, [], {})
    assert "one_head (seed 9)" in told
    assert "pre_norm (seed 8)" in told


def test_headline_of_a_full_study(full: tuple[Summary, Results]) -> None:
    assert headline(full[0]) == (
        "BLEU changes most with no residuals (−91.2), no positions (−52.5) and small dk (−6.8); of 10 changes, 6 are "
        "open; 1 change diverged in every seed."
    )


def test_headline_of_one_seed_claims_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary, _ = made(tmp_path, monkeypatch, seeds=1, names=["base", "one_head"])
    assert headline(summary).endswith("one seed shows no spread, so this is not conclusive.")
    assert "[" not in headline(summary)


def test_headline_without_a_separable_change_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary, _ = made(tmp_path, monkeypatch, names=["base", "no_dropout", "no_label_smoothing"])
    assert headline(summary).startswith("No change is better or worse than the baseline; the largest difference is ")
    assert headline(summary).endswith("of 2 changes, 2 are open.")


def test_the_page_says_how_many_seeds_rows_have(full: tuple[Summary, Results]) -> None:
    summary, _ = full
    learned = [row for row in summary.rows if row.n == 3]
    assert replace(summary, rows=learned).seeds_text == "3 seeds"
    assert summary.seeds_text == "2 to 3 seeds"  # one seed of no_norm diverged
    assert replace(summary, seeds=1, rows=[]).seeds_text == "1 seed"


def test_provenance_is_quiet_where_cells_agree(full: tuple[Summary, Results]) -> None:
    found = provenance(*full)
    assert found.warnings == []
    facts = dict(found.facts)
    assert facts["Commit of the code"] == "0123456789ab"
    assert facts["Decoding"] == "beam 4, alpha 0.6, extra_length 50"
    assert facts["Evidence"] == "grammar corpus; 36 of 36 cells trained"


def test_provenance_names_the_revision_of_a_corpus_of_the_hub(full: tuple[Summary, Results]) -> None:
    summary, results = full
    title, sha = "Revision of the corpus on the hub", "0123456789abcdef0123456789abcdef01234567"
    assert title not in dict(provenance(summary, results).facts)
    records = [replace(record, training=record.training | {"corpus_revision": sha}) for record in results.records]
    assert dict(provenance(summary, replace(results, records=records)).facts)[title] == sha


@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        (
            "training.json",
            {"code_hash": "ffff"},
            "different versions of the training code: .*ffff in one_head/seed1",
        ),
        ("training.json", {"git_commit": "ffff-dirty"}, "uncommitted changes to the code: one_head/seed1"),
        ("training.json", {"data_hash": "abc"}, "different data hashes"),
        ("scores.json", {"config_hash": "old"}, "another config hash than their training: one_head/seed1"),
        ("training.json", {"machine": "other"}, "speeds do not compare"),
    ],
)
def test_provenance_says_where_cells_disagree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, change: dict[str, str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    study = write_study(tmp_path, names=["base", "one_head"])
    path = study.results("one_head", 1) / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    results = read_results(study)
    assert re.search(told, "\n".join(provenance(summarise(study, results), results).warnings))


def test_equal_translations_are_grouped(full: tuple[Summary, Results]) -> None:
    found = samples(*full, texts())
    assert [sample.split for sample in found] == ["test"] * 4 + ["test_long"] * 2 + ["test_comp"] * 2
    for sample in found:
        assert sample.reference == reference(sample.index)
        translations = [" ".join(text for text, _ in hypothesis.words) for hypothesis in sample.hypotheses]
        assert len(translations) == len(set(translations))
        assert sorted(name for hypothesis in sample.hypotheses for name in hypothesis.variants) == sorted(
            row.variant for row in full[0].rows if row.variant != "hot"
        )


def test_without_the_corpus_words_are_marked_against_the_baseline(full: tuple[Summary, Results]) -> None:
    found = samples(*full, {})
    assert found[0].reference == ""
    own = {name: hypothesis for sample in found[:1] for hypothesis in sample.hypotheses for name in hypothesis.variants}
    assert not any(differs for _, differs in own["base"].words)
    assert any(differs for _, differs in own["no_residuals"].words)
    assert not any(hypothesis.exact for hypothesis in own.values())


def test_differences_are_marked_by_words() -> None:
    assert marked("der alte Hund bellt", "der kleine Hund bellt") == [
        ("der", False),
        ("alte", True),
        ("Hund bellt", False),
    ]
    assert marked("der Hund", "der kleine Hund") == [("der", False), ("‸", True), ("Hund", False)]
    assert marked("der Hund", "der Hund") == [("der Hund", False)]
    assert marked("", "der Hund") == [("‸", True)]


def test_sentences_are_picked_from_short_to_long() -> None:
    sentences = ["w " * (i % 10 + 1) for i in range(100)]
    lengths = [len(sentences[i].split()) for i in spread_by_length(sentences, 4)]
    assert lengths == sorted(lengths)
    assert lengths[0] <= 2
    assert lengths[-1] >= 8
    assert spread_by_length([], 3) == []
    assert spread_by_length(["one"], 3) == [0]


def test_durations_are_readable() -> None:
    assert [duration(value) for value in (4.4, 65, 3600, 100_000)] == ["4 s", "1 min 05 s", "1 h 00 min", "27 h 46 min"]
