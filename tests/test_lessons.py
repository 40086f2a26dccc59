"""The lessons: both languages are made from one source, run from first cell to last, and show what they claim."""

import hashlib
import html
import re
from pathlib import Path

import nbformat
import pytest

from notebooks.build import LANGUAGES, PAGES, SOURCES, cells, notebook, notebook_path
from notebooks.pages import execute, style

ROOT = Path(__file__).parent.parent
MOST_BYTES = 3_000_000
PARTS = {
    "en": ["**The question.**", "**Predict first.**", "## What the paper says, and where", "## Exercise", "<details>"],
    "ko": ["**질문.**", "**먼저 예측해 보세요.**", "## 논문에는 어디에 어떻게", "## 연습 문제", "<details>"],
}
CLAIMS = {
    "1_positions": [
        "bag_difference < 1e-5",
        "rotation_error < 1e-5",
        "results['none']['6-12'] < 0.6",
        "min(results[kind]['6-12'] for kind in kinds) > 0.9",
        "max(results[kind]['15-18'] for kind in ('sinusoidal', 'learned')) < 0.3 < results['count']['15-18']",
    ],
    "2_attention": [
        "torch.allclose(from_library.flatten(), by_hand)",
        "all(abs(row['std'] - (row['d_k'] ** 0.5 if row['scaling'].endswith('are') else 1)) < 0.1 * row['std']"
        " for row in rows)",
        "rows[-1]['largest_weight'] > 0.9 and rows[-1]['jacobian'] < 0.1",
        "rows[-2]['largest_weight'] < 0.4 and rows[-2]['jacobian'] > 0.8",
    ],
    "3_masks": [
        "results[Mask.minus_inf] == results[Mask.minus_1e9]",
        "results[Mask.zero_score]['perplexity'] < 0.9 * results[Mask.minus_inf]['perplexity']",
        "results[Mask.zero_score]['BLEU'] < 2 and results[Mask.minus_inf]['BLEU'] > 50",
        "sum(row['weight'] for row in looks if row['mask'] == 'zero_score' and row['where'] in places[2:]) > 0.7",
        "next(row['weight'] for row in looks if row['mask'] == 'zero_score' and row['where'] == places[2]) > 0.2",
        "all(row['weight'] == 0 for row in looks if row['mask'] == 'minus_inf' and row['where'] in places[2:])",
    ],
    "4_residuals_and_norms": [
        "gradients['no residuals'][0] < 1e-12 < 0.1 < min(gradients['post-norm (the paper)'])",
        "gradients['post-norm (the paper)'][5] > 2 * gradients['post-norm (the paper)'][0]",
        "max(gradients['pre-norm']) < 1.5 * min(gradients['pre-norm'])",
        "min(gradients['no norms']) > 100 * max(gradients['post-norm (the paper)'])",
        "moved['layer'] == 0 < moved['batch']",
        "results['post-norm, none']['BLEU'] < 3",
        "results['post-norm, none']['BLEU'] + 5 < results['post-norm, warm-up']['BLEU']",
        "results['post-norm, warm-up']['BLEU'] + 5 < results['pre-norm, none']['BLEU']",
        "results['batch norm, warm-up']['perplexity, long sentences']"
        " > max(results[n]['perplexity, long sentences'] for n in ('post-norm, warm-up', 'pre-norm, none'))",
    ],
    "5_before_the_transformer": [
        "results['one vector']['BLEU'] + 10 < results['Bahdanau']['BLEU']",
        "results['Transformer']['BLEU'] < results['Bahdanau']['BLEU']",
        "upper_layer[0, 4].argmax() == 7 and upper_layer[0, 4, 7] > 0.5",  # "play" reads "spielen"
        "set(paths['self-attention'].values()) == {1} and paths['recurrent (LSTM)'][33] == 33",
        "len({row['chain'] for row in rows if row['layer'] == 'self-attention'}) == 1",
        "rows[-3]['chain'] > 7 * rows[1]['chain'] and rows[-3]['layer'] == rows[1]['layer'] == 'recurrent (LSTM)'",
        "rows[-4]['mixing_operations'] == 64 * rows[0]['mixing_operations']",
        "0.99 < rows[-3]['mixing_operations'] / rows[1]['mixing_operations'] / 8 < 1.01",
    ],
    "6_the_whole": [
        "whole['BLEU'] > 60",
        "0 < sum(translation == english for english, translation"
        " in zip(test.target_text, translate(network, test.source_text), strict=True)) < len(test)",
        "effects[0]['high'] < 0 and max(bleu['no residuals'].values()) < 2",
        "effects[1]['low'] < 0 < effects[1]['high']",
    ],
}
"""What the lessons show, as expressions over their own variables after the last cell."""

sources = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
languages = pytest.mark.parametrize("language", LANGUAGES)


def test_there_are_six_lessons_with_claims() -> None:
    assert [source.stem for source in SOURCES] == list(CLAIMS)
    assert [source.stem[0] for source in SOURCES] == list("123456")


@sources
@languages
def test_notebooks_are_made_from_their_sources(source: Path, language: str) -> None:
    committed = notebook_path(source, language).read_text(encoding="utf-8")
    expected = nbformat.writes(notebook(source.read_text(encoding="utf-8"), language)) + "\n"
    assert committed == expected, "run: python -m notebooks.build"


@languages
def test_no_other_notebook_is_there(language: str) -> None:
    found = {path for path in notebook_path(SOURCES[0], language).parent.iterdir() if path.suffix == ".ipynb"}
    assert found == {notebook_path(source, language) for source in SOURCES}


@sources
@languages
def test_a_lesson_has_all_its_parts(source: Path, language: str) -> None:
    prose = "\n".join(text for kind, text in cells(source.read_text(encoding="utf-8")) if kind == language)
    assert [part for part in PARTS[language] if part not in prose] == []
    assert prose.startswith(f"# {source.stem[0]}. ")


@sources
def test_both_languages_have_a_text_in_the_same_places(source: Path) -> None:
    kinds = [kind for kind, _ in cells(source.read_text(encoding="utf-8"))]
    between_code = " ".join(kinds).split("code")
    assert all(texts.split() in ([], ["en", "ko"]) for texts in between_code)


@sources
@languages
def test_a_page_is_of_this_source_and_needs_no_script(source: Path, language: str) -> None:
    page = (PAGES / language / f"{source.stem}.html").read_text(encoding="utf-8")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert digest in page, f"run: python -m notebooks.build --pages {source.stem}"
    assert "<script" not in page
    assert str(ROOT) not in page
    text = html.unescape(re.sub(r"<[^>]+>", "", page))
    assert all(code in text for kind, code in cells(source.read_text(encoding="utf-8")) if kind == "code")


@sources
@languages
def test_a_page_has_no_markdown_left(source: Path, language: str) -> None:
    """`**word(term)**particle` is not bold in Markdown: a closing `**` after punctuation needs a space behind it."""
    page = (PAGES / language / f"{source.stem}.html").read_text(encoding="utf-8")
    prose = re.sub(r"<(pre|code|svg)\b.*?</\1>|<[^>]+>", "", page, flags=re.S)
    assert re.findall(r".*[*`].*", prose) == []


def test_the_style_sheet_is_of_this_source() -> None:
    assert (PAGES / "lesson.css").read_text(encoding="utf-8") == style(), "run: python -m notebooks.build --pages"


def test_pages_are_small() -> None:
    assert sum(path.stat().st_size for path in PAGES.rglob("*.*")) < MOST_BYTES


@sources
@languages
def test_links_resolve(source: Path, language: str) -> None:
    lesson = notebook_path(source, language)
    last_cell = notebook(source.read_text(encoding="utf-8"), language).cells[-1].source
    in_notebook = re.findall(r"\]\(([^)\s]+)\)", last_cell)
    page = PAGES / language / f"{source.stem}.html"
    in_page = [link for link in re.findall(r'href="([^"]+)"', page.read_text(encoding="utf-8")) if link[0] != "#"]
    for file, links in ((lesson, in_notebook), (page, in_page)):
        assert [link for link in links if not (file.parent / link.partition("#")[0]).exists()] == []


@sources
@languages
def test_files_and_names_that_a_lesson_points_to_exist(source: Path, language: str) -> None:
    prose = "\n".join(text for kind, text in cells(source.read_text(encoding="utf-8")) if kind == language)
    for path in re.findall(r"`((?:lit_transformer|data_modules|experiments)/[\w./]+)`", prose):
        assert (ROOT / path).exists(), path


def test_a_text_without_a_language_is_refused() -> None:
    with pytest.raises(AssertionError, match="text without a language: 'lost'"):
        list(cells("lost\n<!-- en -->\nfound\n"))


RUNS = [
    pytest.param(source, language, marks=[] if (source.stem, language) == ("2_attention", "en") else pytest.mark.slow)
    for source in SOURCES
    for language in LANGUAGES
]


@pytest.mark.parametrize(("source", "language"), RUNS, ids=lambda part: getattr(part, "stem", part))
def test_a_lesson_runs_and_shows_what_it_claims(source: Path, language: str) -> None:
    path = notebook_path(source, language)
    lesson = nbformat.read(path, as_version=4)
    lesson.cells += [nbformat.v4.new_code_cell(f"assert {claim}") for claim in CLAIMS[source.stem]]
    outputs = [output for cell in execute(lesson, path.parent).cells for output in cell.get("outputs", [])]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
