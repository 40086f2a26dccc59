"""Write the dvc.yaml of a study from the template: `python -m experiments stages --study S`.

`launch` does so by itself; this is for those who want to run the stages with `dvc` alone.
"""

import argparse
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Write the files and name them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, help="a folder of experiments/studies")
    args = parser.parse_args(argv)
    from experiments.config.stages import stage_files, write_stages

    files = stage_files(args.study)
    written = write_stages(files)
    for path in files:
        print(f"{path}: {'written' if path in written else 'up to date'}")
