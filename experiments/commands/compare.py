"""Set two studies, or two revisions of one, side by side: a table in the terminal and a page.

    python -m experiments compare components components_multi30k
    python -m experiments compare components@published components
    python -m experiments compare components@HEAD~3 components

A name alone is the results at hand, or the published ones where there are none. name@published is the published
results, name@revision what was published in that commit, read through git. Scores of different test sets or signatures
never share a column: such studies show differences to their own baselines only.

The last line says whether the two agree in their claims, and names the changes that only one of them decides. The exit
status is 1 where they contradict each other: a change is better in one and worse or equal in the other. An open verdict
contradicts nothing. Where both studies have `tune`, a line before it says the same of each row at its best value, and
counts as well.
"""

import argparse
from collections.abc import Sequence

from experiments.common import cli
from lit_transformer.errors import UserError


def main(argv: Sequence[str] | None = None) -> None:
    """Compare, print the table and the page's path."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", metavar="A", help="a study, study@published or study@revision")
    parser.add_argument("b", metavar="B", help="a study, study@published or study@revision")
    parser.add_argument("--out", type=cli.user_path, help="folder of the page (default: runs/report/compare-A-B)")
    args = parser.parse_args(argv)
    if args.a == args.b:
        raise UserError(f"A and B are both {args.a}; name two studies, or a revision of it: {args.a}@HEAD~1 {args.a}")
    cli.announce(f"reading {args.a} and {args.b}")
    from experiments.reporting.comparison_report import compare

    if not compare(args.a, args.b, cli.page_folder(args.out, "compare", (args.a, args.b))):
        raise SystemExit(1)
