"""What `tune` adds to a study: its trials, in cells' worth of steps, and its cells once more."""

from experiments.config.study import Study
from experiments.planning.looks import cell_count
from experiments.reporting.formats import listing, percent


def tuning_cost(study: Study) -> str:
    """Return in words what the trials of a study are and cost; nothing for a study without `tune`."""
    if study.tune is None:
        return ""
    tune, cells = study.tune, len(study.variants) * len(study.seeds)
    shares = listing([percent(share) for share in tune.rungs])
    again = cell_count(study, tuned=True).numbers if len(study.looks) > 1 else f"at most {cells} cells"
    return (
        f"Tuning: at most {cells * sum(tune.numbers)} trials, worth {cells * tune.cost:.3g} cells "
        f"({len(tune.values)} values of {tune.key}, {shares} of the steps); then {again} again, "
        "each at its best value."
    )
