"""Make or update a study's page on W&B: a workspace over its runs, and a report.

    python -m experiments dashboard --study components
    python -m experiments dashboard --study components --dry-run

The workspace shows the runs that the study's report counts, grouped by variant: bars and curves with standard errors
over seeds, differences to the baseline with their verdicts, quality against cost, and samples. The report has the
headline, the corrected table, the forest plot and attention. Every number is that of `report`, so run that first.
--dry-run prints what would be saved, as YAML, and needs no account. WANDB_ENTITY and WANDB_PROJECT say where.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from experiments.config.study import load_study
from lit_transformer.errors import UserError


def main(argv: Sequence[str] | None = None) -> None:
    """Print the page's addresses, or what would be saved."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, help="a folder of experiments/studies")
    parser.add_argument("--dry-run", action="store_true", help="print what would be saved, as YAML; needs no account")
    args = parser.parse_args(argv)
    study = load_study(args.study)
    from experiments.reporting.study_page import study_page
    from experiments.tracking import dashboard, login
    from experiments.tracking.identity import PROJECT, files_folder, with_user_variables

    place = with_user_variables({"project": PROJECT, "entity": ""})
    project, entity = place["project"], place["entity"]
    if args.dry_run:
        import yaml

        specification = dashboard.specification(study_page(study), entity or "your-entity", project)
        print(yaml.safe_dump(specification, sort_keys=False, allow_unicode=True, width=120), end="")
        return
    if not login.logged_in():
        raise UserError("W&B does not know you: `wandb login`, or set WANDB_API_KEY; --dry-run needs neither")
    record = files_folder(Path("runs") / study.name / "dashboard") / "saved.json"
    for name, address in dashboard.save(
        study_page(study), entity or dashboard.default_entity(), project, record
    ).items():
        print(f"{name}: {address}")
