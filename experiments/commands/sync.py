"""Send what W&B's server does not have yet: runs that were offline, and runs whose server went away.

Each row arrives once, however often this is run. WANDB_PROJECT, WANDB_ENTITY, WANDB_RUN_GROUP, WANDB_TAGS and
WANDB_NOTES win over what the runs were logged with.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from experiments.common import cli
from lit_transformer.errors import UserError


def main(argv: Sequence[str] | None = None) -> None:
    """Send what is missing of every run below some folders. Raises UserError for a user who is not logged in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folders", nargs="*", type=cli.user_path, help="run folders, or what holds them (default: runs, or WANDB_DIR)"
    )
    args = parser.parse_args(argv)
    from experiments.tracking import login, sync
    from experiments.tracking.identity import files_folder

    if not login.logged_in():
        raise UserError("W&B does not know you: `wandb login`, or set WANDB_API_KEY, and run the same command again")
    sync.sync_all(args.folders or [files_folder(Path("runs"))])
