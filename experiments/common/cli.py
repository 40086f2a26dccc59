"""What every entry point shares: the study, variant and seed arguments, and errors as one line."""

import argparse
import codecs
import errno
import os
import pwd
import re
import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path

from data_modules.corpora.files import VARIABLE as CORPORA
from experiments.common.outcome import write_outcome
from experiments.config.cell import Cell
from experiments.config.study import ROOT, load_study
from lit_transformer.errors import UserError

STARTED_IN = Path.cwd()
"""Where the user stood, before `run` goes to the project's root: what a path of the command line is relative to."""
READ_WHERE_SET = (
    "LIT_", "WANDB_", "HF_", "OMP_", "SLURM_", "HOME", "NETRC", "LOCAL_RANK", "RANK", "WORLD_SIZE", "NODE_RANK",
)  # fmt: skip
"""How names of variables begin of which we or our libraries take an empty value for one that is set, and stumble.

CUDA_VISIBLE_DEVICES is not among them: empty, it says that there are no GPUs.
"""
PLAIN = {"−": "-", "–": "-", "±": "+/-", "→": "->", "Δ": "difference in", "×": "x", "…": "...", "“": '"', "”": '"'}
"""What a terminal that has no such sign is shown."""


def run(main: Callable[[], None]) -> None:
    """Run an entry point from the project's root; a `UserError` is one line on stderr and its exit status.

    A relative LIT_CORPORA is from where the user stands, as a path of the command line is.

    Exit statuses: 0 done; 2 a user's mistake; 75 a temporary failure; 130 interrupted; anything else is a crash. Where
    LIT_OUTCOME names a file, a failure is written there as well (`experiments.common.outcome`).
    """
    _print_to_any_terminal()
    _complete_environment()
    if not (ROOT / "pyproject.toml").is_file():
        _leave(f"{ROOT} is not a checkout of lit_transformer; run the studies from a clone of the repository", 2)
    for name in (CORPORA, "WANDB_DIR"):  # as the user means it, for what this command starts as well
        if folder := os.environ.get(name):
            os.environ[name] = str(user_path(folder))
    os.chdir(ROOT)
    try:
        main()
    except UserError as error:
        _leave(str(error), error.status)
    except KeyboardInterrupt:
        _leave("interrupted", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM):
            write_outcome(1, f"{type(error).__name__}: {error}")
            raise
        place = error.filename or Path.cwd()
        _leave(f"{place}: {error.strerror}; free space or fix the permission and run the same command again", 2)
    except Exception as error:
        write_outcome(1, f"{type(error).__name__}: {error}")
        raise


def cell_parser(
    description: str,
    seed_required: bool = True,
    no_seed: str = "the study's first where none is given",
    several: bool = False,
) -> argparse.ArgumentParser:
    """Return a parser for --study, --variant, --seed, --tuned and key=value; `no_seed` says what no seed means.

    `several`: variants and seeds may be lists, such as 0,1,2, for `parse_cells`.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, help="a folder of experiments/studies")
    about_seed = "a seed; any number, the study's own or another" + ("" if seed_required else f"; {no_seed}")
    if several:
        about = "a variant of that study, or several: base,one_head"
        parser.add_argument("--variant", type=names, required=True, metavar="A[,B...]", help=about)
        about_seed += "; or several: 0,1,2 or 0-9"
        parser.add_argument("--seed", type=seed_range, required=seed_required, metavar="N[,N...]", help=about_seed)
    else:
        parser.add_argument("--variant", required=True, help="a variant of that study")
        parser.add_argument("--seed", type=int, required=seed_required, help=about_seed)
    parser.add_argument(
        "--tuned", action="store_true", help="at the value that the variant's trials chose: `tune` in study.yaml"
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="change a setting of this run, such as optim.steps=100; such a run keeps its results under runs/",
    )
    return parser


def announce(text: str) -> None:
    """Say on stderr what takes the next while, so that a command is not silent; results go to stdout."""
    print(f"{text} ...", file=sys.stderr, flush=True)


def user_path(text: str) -> Path:
    """An argparse type: a path from where the user stands."""
    return STARTED_IN / Path(text).expanduser()


def at_least(least: int) -> Callable[[str], int]:
    """Return an argparse type for a whole number of at least `least`."""

    def parse(text: str) -> int:
        """Return the number; raises ArgumentTypeError for anything but a whole number of at least `least`."""
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is no whole number of at least {least}")
        return value

    return parse


def number_list(what: str, least: int = 0) -> Callable[[str], list[int]]:
    """Return an argparse type for a list of numbers and ranges, such as 1-9 or 1,3,5-7, all at least `least`."""

    def parse(text: str) -> list[int]:
        """Return the numbers, each once; raises ArgumentTypeError for any other text."""
        if not re.fullmatch(r"\s*\d+(-\d+)?\s*(,\s*\d+(-\d+)?\s*)*", text):
            raise argparse.ArgumentTypeError(f"'{text}' is no list of {what} such as 1-9 or 1,3,5-7")
        numbers: dict[int, None] = {}
        for span in text.split(","):
            first, _, last = span.partition("-")
            numbers |= dict.fromkeys(range(int(first), int(last or first) + 1))
        if not numbers:
            raise argparse.ArgumentTypeError(f"'{text}' has no {what}: the first of a range is the smallest")
        if min(numbers) < least:
            raise argparse.ArgumentTypeError(f"'{text}': {what} are numbered from {least} on")
        return list(numbers)

    return parse


seed_range = number_list("seeds")
"""An argparse type: seeds, such as 0-9 or 0,3,5-7."""


def names(text: str) -> list[str]:
    """Return the names of a list such as base,one_head, each once: an argparse type."""
    found = [name.strip() for name in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(f"'{text}' is no list such as base,one_head")
    return list(dict.fromkeys(found))


def parse_cell(args: argparse.Namespace) -> Cell:
    """Turn parsed arguments into a checked cell; no seed is the study's first."""
    study = load_study(args.study)
    seed = study.seeds[0] if args.seed is None else args.seed
    cell = Cell(study, args.variant, seed, tuple(args.overrides), args.tuned)
    _ = cell.config  # a mistake in the variant or an override is reported before anything slow is imported
    return cell


def parse_cells(args: argparse.Namespace) -> list[Cell]:
    """Return the cells of a parser of `several`, seed by seed; one alone is checked as a whole, of many the names."""
    study = load_study(args.study)
    seeds = [study.seeds[0]] if args.seed is None else args.seed
    cells = [
        Cell(study, variant, seed, tuple(args.overrides), args.tuned) for seed in seeds for variant in args.variant
    ]
    for variant in args.variant:
        study.delta(variant)
    if len(cells) == 1:
        _ = cells[0].config
    return cells


def page_folder(out: Path | None, kind: str, names: Sequence[str]) -> Path:
    """Return the folder that the user gave for a page about several studies, else one under runs/, out of git."""
    plain = "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", name) for name in names)
    return Path("runs") / "report" / f"{kind}-{plain}" if out is None else out


def _print_to_any_terminal() -> None:
    """Let a terminal that is not UTF-8 have plain signs instead of ending a command with an error."""
    codecs.register_error("plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="plain")


def _complete_environment() -> None:
    """Take empty variables for unset ones, and give a user without an account, as in a container, a name.

    DVC needs the name. W&B, DVC and figures need a home: without one the command ends here.
    """
    for name in [name for name, value in os.environ.items() if not value and name.startswith(READ_WHERE_SET)]:
        del os.environ[name]
    if os.path.expanduser("~") == "~":
        _leave(f"user {os.getuid()} has no home: set the variable HOME to a folder that can be written", 2)
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("LOGNAME", str(os.getuid()))


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for the characters that could not be encoded, and where to go on."""
    assert isinstance(error, UnicodeEncodeError)
    return "".join(PLAIN.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


def _leave(message: str, status: int) -> None:
    write_outcome(status, message)
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)
