"""The report of a study: its table in the terminal, and every file of its report folder."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from data_modules.prepared import PreparedCorpus
from experiments.common.io import replace, write_text
from experiments.config.study import Study
from experiments.reporting import against_published, tables
from experiments.reporting.across_corpora import agreements_with_others
from experiments.reporting.against_published import AgainstPublished
from experiments.reporting.claims import write_metrics, write_verdicts
from experiments.reporting.figures import draw_figures
from experiments.reporting.figures.forest import forest_chart
from experiments.reporting.figures.ladder import ladder_figure
from experiments.reporting.figures.probe import probe_csv, read_probes
from experiments.reporting.figures.style import render_png, standalone
from experiments.reporting.page.report import report_page
from experiments.reporting.page.sheets import Section
from experiments.reporting.prediction_scores import prediction_sections
from experiments.reporting.predictions import predicting_studies
from experiments.reporting.published import read_published
from experiments.reporting.results import SIGNATURE, Results, next_evaluation, read_results
from experiments.reporting.samples import Texts
from experiments.reporting.study_results import AT_HAND, StudyResults
from experiments.reporting.summary import Summary, summarise
from lit_transformer.errors import UserError

CURVE = ("step", "epoch", "target_tokens", "seconds", "learning_rate", "train_loss", "valid_loss", "valid_ppl")


def report(study: Study, more_scores: Sequence[str], data: Path | None = None) -> None:
    """Write the report of a study and print its table and the page's path; `data`: the corpus of the sentences."""
    results = read_results(study)
    summary = summarise(study, results, more_scores)
    _keep_scores(study, summary)
    texts = read_texts(data or study.data_folder, results, required=data is not None)
    published = read_published(study.name)
    beside = against_published.compare(published, summary, results) if published else None
    path = write_report(study, summary, results, texts, beside)
    console = Console()
    tables.terminal(summary, console)
    if beside:
        console.print(
            f"\npublished on {beside.published.published_at}: {against_published.verdicts(beside)}", soft_wrap=True
        )
    console.print(f"\nreport: {path}", soft_wrap=True, highlight=False)
    if summary.primary is None and (commands := next_evaluation(study, results)):
        console.print(f"no cell is evaluated yet; {commands}", soft_wrap=True, highlight=False)


def write_report(
    study: Study, summary: Summary, results: Results, texts: Texts, beside: AgainstPublished | None = None
) -> Path:
    """Write every file of the report and return the page's path; `beside` sets the run beside the published one."""
    folder = study.report_folder
    probes = read_probes(summary, results)
    figures = draw_figures(summary, results, probes)
    own = StudyResults(study.name, AT_HAND, study, results, summary)
    others = agreements_with_others(own)
    agreements = [(agreement, ladder_figure(agreement)) for agreement in others]
    for figure in [*figures, *(figure for _, figure in agreements)]:
        write_text(folder / f"{figure.name}.svg", standalone(figure.wide))
    forest = forest_chart(summary, 560)
    if forest is not None:
        picture = render_png(forest)
        replace(folder / "forest.png", lambda path: path.write_bytes(picture))
    write_text(folder / "table.md", tables.markdown(summary) + (against_published.markdown(beside) if beside else ""))
    write_metrics(study, summary)
    write_verdicts(study, summary, results)
    write_text(folder / "table.csv", tables.comma_separated(summary))
    write_text(folder / "table.tex", tables.latex(summary))
    write_text(folder / "curves.csv", curves_csv(results))
    if probes:
        write_text(folder / "probe.csv", probe_csv(probes))
    cheaper = {agreement.lower.study.name: agreement.lower for agreement in others}
    sections = prediction_sections(own, {name: cheaper.get(name) for name in predicting_studies(study.name)})
    if beside:
        title, sentences = against_published.TITLE, against_published.sentences(beside)
        sections.insert(0, Section("published", title, against_published.grid(beside), sentences))
    write_text(folder / "index.html", report_page(summary, results, figures, texts, agreements, sections))
    return folder / "index.html"


def curves_csv(results: Results) -> str:
    """Return every cell's curve in one long table, variant and seed in front."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("variant", "seed", *CURVE))
    for record in results.records:
        for row in record.curve:
            writer.writerow((record.variant, record.seed, *(_plain(row.get(name)) for name in CURVE)))
    return out.getvalue()


def read_texts(folder: Path, results: Results, required: bool = False) -> Texts:
    """Return sources and references by split, from the prepared corpus that the results were scored on.

    Empty where the folder holds no corpus or one of another hash; raises UserError instead where it is `required`.
    """
    scored = {record.scores["data_hash"] for record in results.records if record.scores and record.scored}
    if not (folder / "corpus.json").exists():
        if required:
            raise UserError(f"--data {folder}: no prepared corpus there (corpus.json is missing)")
        return {}
    corpus = PreparedCorpus.open(folder)
    if corpus.hash not in scored:
        if required:
            raise UserError(
                f"--data {folder}: this corpus is not the one of the results; prepare that one or leave it out"
            )
        return {}
    found = {split: corpus.split(split) for split in results.splits if split in corpus.splits}
    return {name: (split.source_text, split.target_text) for name, split in found.items()}


def _keep_scores(study: Study, summary: Summary) -> None:
    """Refuse to write a report without a score over one that has some."""
    table = study.report_folder / "table.csv"
    if summary.primary is None and table.exists() and SIGNATURE in table.read_text(encoding="utf-8").partition("\n")[0]:
        raise UserError(
            f"no cell of {study.name} is evaluated, and the report in {study.report_folder} has scores: evaluate a "
            "cell, or move that report away"
        )


def _plain(value: float | None) -> str:
    if value is None or value != value:
        return ""
    return str(int(value)) if value == int(value) else repr(value)
