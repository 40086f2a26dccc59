"""Write every study's dvc.yaml from the template: `python -m experiments stages [--study S]`.

`launch` does so by itself for a study that has none.
"""

import argparse
from collections.abc import Sequence

from experiments.common.io import write_text
from experiments.config.stages import stage_files
from experiments.config.study import list_studies, load_study


def main(argv: Sequence[str] | None = None) -> None:
    """Write the files and name those that changed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", help="only this study's (default: all)")
    args = parser.parse_args(argv)
    for name in [args.study] if args.study else list_studies():
        for path, text in stage_files(load_study(name)).items():
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                write_text(path, text)
                print(path)
