"""The options of `launch`, as tests pass them that run no command line."""

import argparse


def launch_options(**changed: object) -> argparse.Namespace:
    """Return one slot and no retries, all else as by default, but for what is changed."""
    options = {
        "slots": 1,
        "runs_per_gpu": None,
        "address": None,
        "engine": "auto",
        "retries": 0,
        "fuse": None,
        "dry_run": False,
    }
    return argparse.Namespace(**{**options, **changed})
