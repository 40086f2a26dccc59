"""Whether runs go to W&B online: the mode the user chose, and whether the user is logged in. Contacts no server."""

import configparser
import netrc
import os
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlparse

from lit_transformer.errors import UserError, nearest

MODES = ("auto", "online", "offline", "disabled")


def wandb_mode(requested: str) -> str:
    """Resolve "auto", "online", "offline" or "disabled" to one of the last three.

    "auto" is $WANDB_MODE where that is set, else online for a user who is logged in, else offline. Raises UserError
    for any other mode.
    """
    if requested not in MODES:
        raise UserError(f"--wandb {requested}: choose from {', '.join(MODES)}{nearest(requested, MODES)}")
    mode = requested
    if mode == "auto":
        old_names = {"run": "online", "shared": "online", "dryrun": "offline"}
        mode = os.environ.get("WANDB_MODE", "") or ("online" if logged_in() else "offline")
        mode = old_names.get(mode, mode)
        if mode not in MODES[1:]:
            raise UserError(f"WANDB_MODE={mode}: choose from {', '.join(MODES[1:])}{nearest(mode, MODES[1:])}")
    if mode == "online" and not logged_in():
        warn("not logged in (`wandb login`, or WANDB_API_KEY); logging offline")
        mode = "offline"
    return mode


def logged_in() -> bool:
    """Return whether there is an API key where wandb looks for one; contacts no server."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(_server()).hostname or ""
    paths = [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]
    for path in paths:
        try:
            if netrc.netrc(os.path.expanduser(path)).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def _server() -> str:
    """Return the server's address: of the environment, else as `wandb login --host` saved it."""
    if url := os.environ.get("WANDB_BASE_URL"):
        return url
    settings = configparser.ConfigParser(interpolation=None)
    folder = Path(os.environ.get("WANDB_CONFIG_DIR", "~/.config/wandb")).expanduser()
    with suppress(configparser.Error, OSError, UnicodeDecodeError):
        settings.read(folder / "settings")
    return settings.get("default", "base_url", fallback="https://api.wandb.ai")


def warn(message: str) -> None:
    """Print on stderr, in one line, what W&B does not do; nothing stops for it."""
    print(f"wandb: {' '.join(message.split())}", file=sys.stderr, flush=True)


def reason(error: Exception) -> str:
    """Return an error of W&B in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
