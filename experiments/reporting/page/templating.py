"""Jinja templates of the pages, and their styles and scripts to inline."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"


def template(name: str) -> "Template":
    """Return a template that escapes its variables and raises on undefined ones."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def verbatim(*names: str) -> "Markup":
    """Return styles or scripts, concatenated, to inline without escaping."""
    from markupsafe import Markup

    return Markup("".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names))
