"""What cheap corpora predict about expensive ones: tables in the terminal and a page."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from rich.console import Console

from experiments.common.io import write_text
from experiments.config.study import Study
from experiments.reporting.across_corpora import CorpusAgreement, corpus_agreement, findings, grid
from experiments.reporting.figures.ladder import ladder_figure
from experiments.reporting.grids import print_grid
from experiments.reporting.page.sheets import Section, sheet
from experiments.reporting.prediction_scores import prediction_sections
from experiments.reporting.predictions import grid as predictions_grid
from experiments.reporting.predictions import write_predictions
from experiments.reporting.study_results import StudyResults, study_results
from lit_transformer.errors import UserError


def compare_corpora(studies: Sequence[Study], folder: Path) -> None:
    """Compare every two studies, cheapest corpus first; print what each predicts and write the page into a folder."""
    agreements = every_two([study_results(study) for study in studies])
    write_text(folder / "index.html", page(agreements))
    console = Console()
    for section in (section for agreement in agreements for section in _sections(agreement)):
        console.print(section.title, style="bold", highlight=False)
        print_grid(section.grid, console)
        for note in section.notes:
            console.print(note, style="dim", soft_wrap=True, highlight=False, markup=False)
        console.print()
    console.print(f"page: {folder / 'index.html'}", soft_wrap=True, highlight=False)


def predict_corpus(lower: Study, upper: Study) -> None:
    """Write down what a cheap study predicts of an expensive one, before that is run, and print it."""
    predictions, path = write_predictions(study_results(lower), upper)
    console = Console()
    print_grid(predictions_grid(predictions), console)
    console.print(predictions.rule, style="dim", soft_wrap=True, highlight=False, markup=False)
    console.print(f"{path}: commit it before these rows are trained", soft_wrap=True, highlight=False)


def page(agreements: Sequence[CorpusAgreement]) -> str:
    """Return every two studies on one page that needs no network."""
    sections = [section for agreement in agreements for section in _sections(agreement)]
    names = dict.fromkeys(study.study.name for agreement in agreements for study in (agreement.lower, agreement.upper))
    return sheet(f"What a cheap corpus predicts: {', '.join(names)}", findings(agreements[-1])[0], sections, [])


def every_two(studies: Sequence[StudyResults]) -> list[CorpusAgreement]:
    """Compare every study with each after it; raises UserError where two share no change that both have scored."""
    agreements = [corpus_agreement(lower, upper) for lower, upper in combinations(studies, 2)]
    for agreement in agreements:
        if not agreement.changes:
            lower, upper = agreement.lower.study, agreement.upper.study
            shared = [name for name in lower.variants if name in upper.variants and name != lower.baseline]
            why = f"only {', '.join(shared)}, not scored on both" if shared else "none of the same name"
            raise UserError(f"{lower.name} and {upper.name} share no change to compare ({why})")
    return agreements


def _sections(agreement: CorpusAgreement) -> list[Section]:
    """Return two studies beside each other, and what the lower one predicted of the upper where that was written."""
    lower, upper = agreement.lower.study.name, agreement.upper.study.name
    shared = Section(
        f"ladder-{lower}-{upper}",
        f"From {lower} to {upper}",
        grid(agreement),
        notes=findings(agreement),
        figure=ladder_figure(agreement),
    )
    return [shared, *prediction_sections(agreement.upper, {lower: agreement.lower})]
