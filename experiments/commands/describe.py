"""Print a variant's layers, parameters and operations per token, and their difference from the baseline.

    python -m experiments describe --study components --variant one_head
    python -m experiments describe --study components --variant base model.norm.placement=pre

Nothing is trained and no weight is drawn. Sentences are as long as the prepared corpus's on average, where there is
one, else as --length says.
"""

import argparse
from collections.abc import Sequence

from experiments.config.study import load_study


def main(argv: Sequence[str] | None = None) -> None:
    """Print the description of one variant beside its study's baseline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, help="a folder of experiments/studies")
    parser.add_argument("--variant", required=True, help="a variant of that study")
    parser.add_argument("--length", type=int, default=25, help="tokens a sentence, without a prepared corpus (25)")
    parser.add_argument("--modules", action="store_true", help="print every module of the network too")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="change a setting, as for training")
    args = parser.parse_intermixed_args(argv)
    study = load_study(args.study)
    study.config(args.variant, study.seeds[0], args.overrides)  # refuses a mistake before torch is imported
    from experiments.planning.description import describe

    describe(study, args.variant, args.overrides, args.length, args.modules)
