"""Property tests in two sizes: a few dozen fixed inputs in every run of the tests, many random ones in the slow runs.

What each of them says: whatever the input is, it works and the result is right, or it is a `UserError` in one line.
"""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lit_transformer.errors import UserError

ODD_TEXT = (
    "", " ", "\n", "a\nb", "\t", "~", "null", "no", "true", "1", "1e3", "1_0", "010", "0x10", "1:30", ".nan", ".inf",
    "-1", "???", "${oc.env:HOME}", "${seed}", "$(touch x)", "`touch x`", "; touch x", "a'b", 'a"b', "-x", "--help",
    "..", "../x", "/x", "a/b", "a.b", "x" * 300, "base", "tuned", "ß", "שלום", "\u202eabc", "=1+1", "{{ x }}", "%s",
    "<script>alert(1)</script>", "\\", "2021-01-01", "*a", "&a b", "!!python/object/apply:os.system [touch x]",
    "\x1b[2J", "\ufeff", "\x85",
)  # fmt: skip
"""What has a meaning somewhere: in YAML, OmegaConf, DVC, a shell, a path, a template, a page or a spreadsheet."""


def fuzzed(quick: int, full: int, **strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Any]:
    """Run a property over `quick` fixed inputs, and, marked slow, over `full` random ones.

    The property takes an input of each strategy by its name, and fixtures beside them.
    """

    def decorate(check: Callable[..., None]) -> Any:
        @pytest.mark.parametrize("inputs", [quick, pytest.param(full, marks=pytest.mark.slow)])
        def test(inputs: int, request: pytest.FixtureRequest) -> None:
            fixtures = {name: request.getfixturevalue(name) for name in names}

            @settings(
                max_examples=inputs,
                derandomize=inputs == quick,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(**strategies)
            def run(**drawn: Any) -> None:
                check(**fixtures, **drawn)

            run()

        names = [name for name in check.__code__.co_varnames[: check.__code__.co_argcount] if name not in strategies]
        test.__doc__ = check.__doc__
        return test

    return decorate


def succeeded(action: Callable[..., Any], *arguments: Any) -> Any:
    """Return what an action returns, None where it refuses in one printable line; any other exception is a failure."""
    try:
        return action(*arguments)
    except UserError as refusal:
        message = str(refusal)
        assert message.strip()
        assert message.isprintable()
        return None


@st.composite
def edited(draw: st.DrawFn, whole: bytes, pieces: tuple[bytes, ...]) -> bytes:
    """A file's content after a few edits: pieces put in, parts cut out or doubled, a bit flipped, the end lost."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 40)))
        match draw(st.sampled_from(("insert", "insert", "replace", "cut", "double", "flip", "truncate"))):
            case "insert":
                content[start:start] = draw(st.sampled_from(pieces))
            case "replace":
                content[start:end] = draw(st.sampled_from(pieces))
            case "cut":
                del content[start:end]
            case "double":
                content[start:start] = content[start:end]
            case "flip" if start < len(content):
                content[start] ^= 1 << draw(st.integers(0, 7))
            case "truncate":
                del content[start:]
    return bytes(content)
