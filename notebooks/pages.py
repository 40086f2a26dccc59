"""Executed lessons as HTML pages of text and SVG, without JavaScript."""

import hashlib
import re
from itertools import chain
from pathlib import Path

import nbformat
from jinja2 import Template
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter

from notebooks.build import FOLDER, LANGUAGES, PAGES, SOURCES, notebook, notebook_path

from experiments.reporting.figures.style import inline

TEMPLATE = Template(
    (FOLDER / "page.html").read_text(encoding="utf-8"), trim_blocks=True
)


def execute(lesson: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """Run a lesson in a new kernel, started in `folder`; raise at its first error."""
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        lesson, timeout=900, kernel_name="python3", resources=resources
    )
    executed: nbformat.NotebookNode = client.execute()
    return executed


def style() -> str:
    """Return the style sheet of all pages: their layout, and the colours of code."""
    colours: str = HtmlFormatter(style="default").get_style_defs(".highlight")
    return (FOLDER / "page.css").read_text(encoding="utf-8") + colours + "\n"


def write_style() -> None:
    """Write the style sheet beside the pages."""
    (PAGES / "lesson.css").write_text(style(), encoding="utf-8")


def write_pages(source: Path) -> None:
    """Run a lesson once, and write its pages: both languages have the same code."""
    text = source.read_text(encoding="utf-8")
    folder = notebook_path(source, LANGUAGES[0]).parent
    executed = execute(notebook(text, LANGUAGES[0]), folder)
    outputs = [cell.outputs for cell in executed.cells if cell.cell_type == "code"]
    for number, output in enumerate(chain.from_iterable(outputs)):
        assert output.get("name") != "stderr", f"{source.name} warns: {output.text}"
        if picture := output.get("data", {}).get("image/svg+xml"):
            output.data = {"text/html": inline(picture, f"chart{number}")}
    exporter = HTMLExporter(
        template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True
    )
    for language in LANGUAGES:
        lesson = notebook(text, language)
        code = (cell for cell in lesson.cells if cell.cell_type == "code")
        for cell, cell_outputs in zip(code, outputs, strict=True):
            cell.outputs = cell_outputs
        body, _ = exporter.from_notebook_node(lesson)
        page = TEMPLATE.render(
            body=re.sub(r"[ \t]+$", "", _links_from_pages(body), flags=re.MULTILINE),
            source=hashlib.sha256(text.encode()).hexdigest(),
            language=language,
            other=next(other for other in LANGUAGES if other != language),
            stem=source.stem,
            title=lesson.cells[0].source.partition("\n")[0].removeprefix("# "),
            lessons=[path.stem for path in SOURCES],
        )
        path = PAGES / language / f"{source.stem}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page.rstrip() + "\n", encoding="utf-8")


def _links_from_pages(body: str) -> str:
    """Make links from notebooks/<language> links from docs/lessons/<language>."""
    return re.sub(
        r'href="\.\./\.\./(docs/)?',
        lambda link: 'href="../../' + ("" if link[1] else "../"),
        body,
    )
