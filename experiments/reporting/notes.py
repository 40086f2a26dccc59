"""What stands under a study's table: the evidence, the rules, what the seeds can tell apart, and what is missing."""

from experiments.reporting import systems
from experiments.reporting.against_paper import RULE as RULE_PAPER
from experiments.reporting.results import AVERAGED, grouped, listed
from experiments.reporting.statistics import smallest_p
from experiments.reporting.summary import RULE, RULE_WIDE, Summary

AVERAGED_NOTE = "Averaged: of the averaged weights. Differences and verdicts are of the weights of the last step."
TITLES = {
    "bleu": "BLEU",
    "bleu_intl": "BLEU intl",
    "bleu_own": "BLEU (corpus's own)",
    "bleu_paper": "BLEU (paper's)",
    "chrf": "chrF",
    "chrfpp": "chrF++",
    "ter": "TER",
    "ppl": "PPL",
    "ppl_word": "PPL a word",
    "bits_per_character": "bits a character",
    "exact_match": "exact match, %",
    "brevity_penalty": "brevity penalty",
    "length_ratio": "length ratio",
}


def title_of(score: str) -> str:
    """Return what a score is called over a column; one without a title of its own stands under its name."""
    plain = score.removeprefix(AVERAGED)
    return TITLES.get(plain, plain) + (" averaged" if plain != score else "")


def notes_of(summary: Summary) -> list[str]:
    """Return what a reader of the table must know: n, the rung, signatures, noise, the rule and what is missing."""
    seeds = "one seed, so no interval and no test" if summary.seeds == 1 else f"{summary.seeds} seeds a row"
    notes = [f"Evidence: {summary.rung}, {seeds} unless the row says otherwise; ± and [ ] are 95 % t-intervals."]
    by_signature = grouped((summary.signature(split), split) for split in summary.splits)
    notes += [f"BLEU on {', '.join(splits)}: {signature}" for signature, splits in by_signature.items()]
    notes += [
        f"{title_of(name)} on {summary.primary}: {summary.signature(summary.primary or '', name)}"
        for name in summary.shown
    ]
    if any(name.startswith(AVERAGED) for name in summary.shown):
        notes.append(AVERAGED_NOTE)
    if summary.seeds > 1:
        notes.append(RULE)
    if any(row.difference_wide for row in summary.rows):
        notes.append(RULE_WIDE + ("" if widened(summary) else " Here none is wider by 0.01 BLEU, so they stand once."))
    if any(row.agreement for row in summary.rows):
        notes.append(RULE_PAPER)
    notes += systems.notes(summary.beside)
    notes += _notes_of_noise(summary)
    if summary.missing:
        notes.append(f"Not trained ({len(summary.missing)}): {listed(summary.missing)}")
    if summary.unscored:
        notes.append(f"Trained but not evaluated ({len(summary.unscored)}): {listed(summary.unscored)}")
    return notes


def widened(summary: Summary) -> bool:
    """Say whether new sentences widen any row's interval enough to be seen; with few seeds their own spread rules."""
    return any(
        row.difference_wide.half_width - row.difference.half_width >= 0.005
        for row in summary.rows
        if row.difference_wide and row.difference and row.difference_wide.half_width and row.difference.half_width
    )


def _notes_of_noise(summary: Summary) -> list[str]:
    notes, found, floor = [], summary.noise, summary.noise_floor
    if found:
        once, corrected = (
            f"{100 * half:.0f} % and {100 * double:.0f} %" for half, _, double in (found.power, found.power_corrected)
        )
        notes.append(
            f"Power: a paired difference varies by {found.sd:.2f} BLEU (sd, median over changes), so {found.n} seeds "
            f"separate {found.alone:.2f} BLEU in one test and {found.corrected:.2f} under the strictest step of Holm's "
            f"correction over {summary.compared} changes. True differences of half and twice that are found in {once} "
            f"of studies by one test, in {corrected} at that step."
        )
        notes.append(
            f"p is that of the t-test. The exact test, which turns the signs of the differences, cannot go below "
            f"{smallest_p(found.n):.2g} with {found.n} seeds; table.csv has its p."
        )
    if floor:
        notes.append(
            f"Noise floor: the baseline against itself. Two means of {floor.n} seeds each differ by less than "
            f"{floor.half_width:.2f} BLEU in 95 % of cases; any two of its runs here by {floor.pairs[0]:.2f} to "
            f"{floor.pairs[-1]:.2f}."
        )
    return notes
