"""A study's page on W&B, filled from its report: the same table, verdicts, samples and forest plot."""

from experiments.common.io import read_json
from experiments.config.study import Study
from experiments.reporting import tables
from experiments.reporting.claims import verdict_row
from experiments.reporting.figures.forest import forest_figure
from experiments.reporting.figures.style import standalone
from experiments.reporting.grids import Grid, TableCell, markdown_grid
from experiments.reporting.headline import headline
from experiments.reporting.results import Results, next_evaluation, read_results
from experiments.reporting.samples import Sample, Texts, samples
from experiments.reporting.study_report import read_texts
from experiments.reporting.summary import Summary, summarise
from experiments.tracking.dashboard import StudyPage
from experiments.tracking.identity import RunIdentity
from lit_transformer.errors import UserError


def study_page(study: Study) -> StudyPage:
    """Return the page of a study. Raises UserError where its report is missing or is not of the present results."""
    results = read_results(study)
    summary = summarise(study, results)
    if summary.primary is None and (commands := next_evaluation(study, results)):
        raise UserError(f"no cell of {study.name} is evaluated yet; {commands}")
    _check_report(study, summary)
    runs = {
        (record.variant, record.seed): record.training["run_hash"]
        for record in results.records
        if "run_hash" in record.training
    }
    if not runs:
        raise UserError(f"the results of {study.name} are of an older version, without the hashes of their runs")
    baseline = [
        RunIdentity(study.name, variant, seed, run_hash).run_id
        for (variant, seed), run_hash in runs.items()
        if variant == study.baseline
    ]
    forest = forest_figure(summary)
    return StudyPage(
        study=study.name,
        question=study.question,
        headline=headline(summary),
        splits=summary.splits,
        variants=len(summary.rows),
        runs=list(dict.fromkeys(runs.values())),
        baseline_run=next(iter(baseline), ""),
        report_run=RunIdentity(study.name, "report", 0, "").run_id,
        differences=tables.markdown_table(tables.columns(summary)[: tables.FIRST], summary.rows),
        table=tables.markdown(summary),
        samples=_samples(summary, results, read_texts(study.data_folder, results)),
        picture=standalone(forest.wide) if forest else "",
    )


def _check_report(study: Study, summary: Summary) -> None:
    """Refuse to show numbers that a reader of the report would not find there."""
    path, command = study.verdicts_path, f"`python -m experiments report --study {study.name}` writes it"
    if not path.exists():
        raise UserError(f"{path} is missing; {command}")
    written = read_json(path)["rows"]
    present = [verdict_row(row) for row in summary.changes]
    if len(written) != len(present) or any({**row, **now} != row for row, now in zip(written, present, strict=True)):
        raise UserError(f"{path} is not of the present results; {command} anew")


def _samples(summary: Summary, results: Results, texts: Texts) -> str:
    """Return a few sentences, each with the translations of all variants; those that are equal stand together."""
    shown = [sample for sample in samples(summary, results, texts) if sample.split == summary.primary]
    return "\n\n".join(map(_sample, shown)) or "No translations here."


def _sample(sample: Sample) -> str:
    rows = [("source", sample.source), ("reference", sample.reference)] if sample.source else []
    rows += [
        (", ".join(hypothesis.variants), " ".join(words for words, _ in hypothesis.words if words != "‸"))
        for hypothesis in sample.hypotheses
    ]
    cells = [[TableCell(name), TableCell(text)] for name, text in rows]
    return markdown_grid(Grid([f"{sample.split} {sample.index}", ""], cells))
