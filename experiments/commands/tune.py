"""Run one trial of a study's `tune`: `python -m experiments tune --study S --variant V --seed K --rung 0.25 KEY=VALUE`.

Trains the variant at that value for a share of optim.steps, with the schedule of so many steps, and writes its
validation loss under results/tuning/<variant>/seed<k>/<rung>/; no model is kept. K is the seed for which the trial
chooses; its own is 1,000,000 more. A value that the rung before stopped is not trained. Run the same command again
after an interruption and it resumes.
"""

import argparse
from collections.abc import Sequence
from contextlib import suppress

from experiments.common.io import write_json
from experiments.config.study import Study, load_study
from experiments.config.trials import STOPPED, Trial, TrialRecord, plain_record, read_trials, values_at
from lit_transformer.errors import UserError


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run the trial."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, help="a folder of experiments/studies, with `tune` in study.yaml")
    parser.add_argument("--variant", required=True, help="a variant of that study")
    parser.add_argument("--seed", required=True, help="a seed of the study")
    parser.add_argument("--rung", required=True, help="a share of optim.steps, of tune.rungs")
    parser.add_argument("setting", metavar="KEY=VALUE", help="a value of tune.values for tune.key: optim.peak=0.001")
    parser.add_argument("--wandb", default="disabled", help="auto (online if logged in), online, offline or disabled")
    parser.add_argument("--quiet", action="store_true", help="no progress bar; a line at each validation remains")
    args = parser.parse_args(argv)
    study = load_study(args.study)
    trial = _trial(study, args)
    assert study.tune
    values = values_at(study.tune, read_trials(study, trial.variant, trial.seed), trial.rung)
    if values is None:
        raise UserError(
            f"trials of {trial.variant} seed {trial.seed} before rung {trial.rung} are missing; "
            f"`python -m experiments launch --study {study.name}` runs all in their order"
        )
    if trial.value not in values:
        write_json(trial.path, plain_record(TrialRecord(trial.value, trial.seed, trial.rung, study.tune.key, STOPPED)))
        print(f"{trial.name}: stopped after the rung before, where others did better")
        return
    from experiments.training.run import Options
    from experiments.training.trial import run_trial

    run_trial(trial, Options(args.wandb, args.quiet))


def _trial(study: Study, args: argparse.Namespace) -> Trial:
    """Return the trial of study.yaml that the command line names."""
    study.delta(args.variant)  # raises for an unknown variant
    tune = study.tune
    if tune is None:
        raise UserError(f"study {study.name} has no trials; add `tune` to study.yaml")
    key, _, value = args.setting.partition("=")
    if key != tune.key:
        raise UserError(f"'{args.setting}': study {study.name} tunes {tune.key}; write {tune.key}={tune.values[0]}")
    return Trial(
        study,
        args.variant,
        _listed(value, tune.values, f"tune.values of study {study.name}"),
        int(_listed(args.seed, study.seeds, f"seeds of study {study.name}")),
        _listed(args.rung, tune.rungs, f"tune.rungs of study {study.name}"),
    )


def _listed(text: str, known: Sequence[float], where: str) -> float:
    """Return the number as study.yaml has it."""
    for number in known:
        with suppress(ValueError):
            if float(text) == number:
                return number
    raise UserError(f"{text} is not among the {where}: {', '.join(map(str, known))}")
