"""Which trials of a study are to run by now: those of its first rung that is not done, without values left behind."""

from collections.abc import Collection

from experiments.config.study import Study
from experiments.config.trials import Trial, read_trials, trials_of, values_at


def next_trials(
    study: Study, stale: set[str], left_out: Collection[tuple[str, int]] = ()
) -> tuple[list[Trial], list[Trial]]:
    """Return the stale trials of the first rung that has some: those to train, and those that are stopped.

    The latter only write so. Variants and seeds that are `left_out`, as where an earlier trial failed, have neither.
    """
    assert study.tune
    for rung in study.tune.rungs:
        trials = [
            trial
            for trial in trials_of(study, rung)
            if trial.stage in stale and (trial.variant, trial.seed) not in left_out
        ]
        if trials:
            places = dict.fromkeys((trial.variant, trial.seed) for trial in trials)
            values = {place: values_at(study.tune, read_trials(study, *place), rung) for place in places}
            stopped = [
                trial for trial in trials if trial.value not in (values[trial.variant, trial.seed] or study.tune.values)
            ]
            return [trial for trial in trials if trial not in stopped], stopped
    return [], []
