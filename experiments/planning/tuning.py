"""What `tune` adds to a study: its trials, in cells' worth of steps, and its cells once more."""

from experiments.config.study import Study
from experiments.reporting.formats import listing, percent, plural


def tuning_cost(study: Study) -> str:
    """Return in words what the trials of a study are and cost; nothing for a study without `tune`."""
    if study.tune is None:
        return ""
    tune, rows = study.tune, len(study.variants)
    shares = listing([percent(share) for share in tune.rungs])
    return (
        f"Tuning: {rows * tune.trials} trials, worth {rows * tune.cost:.3g} cells ({len(tune.values)} values of "
        f"{tune.key} per row, {plural(len(tune.seeds), 'seed')}, {shares} of the steps); then at most "
        f"{rows * len(study.seeds)} cells again, each at its row's best value."
    )
