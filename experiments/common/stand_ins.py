"""Modules of others that a start would import and not use, and what stands in for them meanwhile.

More than a second of every start went into two such imports. Who asks a stand-in for a name that it lacks is given the
module's own; it has no submodules. Not for several threads at once.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def import_lightning() -> None:
    """Import Lightning, but not scipy.signal, to which its torchmetrics adds an old name for another library's sake."""
    with standing_in("scipy.signal", hamming=None):
        import pytorch_lightning  # noqa: F401


@contextmanager
def standing_in(name: str, **attributes: Any) -> Iterator[None]:
    """Let a module be found that has these attributes and loads itself for any other, unless it is loaded already."""
    if name in sys.modules:
        yield
        return

    def rest(attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)  # the import itself asks for these, and who looks through what is loaded
        if sys.modules.get(name) is module:
            del sys.modules[name]
        try:
            return getattr(import_module(name), attribute)
        except ImportError as error:
            raise AttributeError(attribute) from error

    module = ModuleType(name, "Stands in for a module that is not needed.")
    vars(module).update(attributes, __getattr__=rest, __spec__=ModuleSpec(name, None))
    sys.modules[name] = module
    try:
        yield
    finally:
        if sys.modules.get(name) is module:
            del sys.modules[name]


class NoInputs:
    """What W&B's launching of jobs has staged for a run: nothing. Its own module takes half a second to import."""

    def apply(self, run: Any) -> None:
        """Leave the run as it is."""
