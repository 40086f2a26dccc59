"""Makes the notebooks from sources/, and with `--pages` pages of what they show.

A source is Markdown with the prose in both languages and the code once:

    <!-- en -->      what follows is a text cell of the English notebook
    <!-- ko -->      what follows is a text cell of the Korean notebook
    ```python        a code cell of both
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat

FOLDER = Path(__file__).parent
PAGES = FOLDER.parent / "docs" / "lessons"
LANGUAGES = ("en", "ko")
SOURCES = sorted((FOLDER / "sources").glob("*.md"))
CELL = re.compile(r"^<!-- (en|ko) -->\n|^```python\n(.*?)^```\n", re.S | re.M)


def cells(source: str) -> Iterator[tuple[str, str]]:
    """Yield the cells of a source: "en", "ko" or "code", and the text."""
    kind, start = "", 0
    for match in CELL.finditer(source):
        if text := source[start : match.start()].strip():
            assert kind, f"text without a language: {text[:60]!r}"
            yield kind, text
        kind, start = match[1] or "", match.end()
        if match[2]:
            yield "code", match[2].strip()
    if text := source[start:].strip():
        assert kind, f"text without a language: {text[:60]!r}"
        yield kind, text


def notebook(source: str, language: str) -> nbformat.NotebookNode:
    """Return the notebook of a source in one language, without outputs."""
    chosen: list[Any] = []
    for kind, text in cells(source):
        if kind in ("code", language):
            v4 = nbformat.v4
            new_cell = v4.new_code_cell if kind == "code" else v4.new_markdown_cell
            chosen.append(new_cell(text, id=f"cell-{len(chosen) + 1}"))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return nbformat.v4.new_notebook(cells=chosen, metadata=metadata)


def notebook_path(source: Path, language: str) -> Path:
    return FOLDER / language / f"{source.stem}.ipynb"


def main() -> None:
    description = __doc__.partition("\n")[0]
    parser = argparse.ArgumentParser(
        "python -m notebooks.build", description=description
    )
    parser.add_argument(
        "--pages",
        nargs="*",
        choices=[source.stem for source in SOURCES],
        metavar="LESSON",
        help="also run these, such as 3_masks, or all",
    )
    args = parser.parse_args()
    for source in SOURCES:
        for language in LANGUAGES:
            lesson = notebook(source.read_text(encoding="utf-8"), language)
            path = notebook_path(source, language)
            path.write_text(nbformat.writes(lesson) + "\n", encoding="utf-8")
    if args.pages is not None:
        from notebooks.pages import write_pages, write_style

        write_style()
        for source in SOURCES:
            if not args.pages or source.stem in args.pages:
                write_pages(source)


if __name__ == "__main__":
    main()
