"""A study's page on W&B: a saved workspace over its runs, and a report. It shows a study's numbers and computes none.

W&B draws the bars and bands itself, from the runs. So the runs are those that the study's report counts, found by their
hash: one of an older config, or with other settings, is of the same variant by name and would enter a mean. They are
grouped by variant, which is all but the seed; means are over seeds, and bars and bands are their standard error. No
panel is left at W&B's limit of ten runs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.common.io import read_json, write_json
from experiments.tracking.login import reason
from experiments.tracking.wandb import PROBES, STEP, be_quiet, finish, open_run
from lit_transformer.errors import UserError

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2.interface import Report
    from wandb_workspaces.workspaces import Workspace

PICTURE = "forest"
"""The key of the forest plot in the run that belongs to the study's report."""
PROBED = {
    "entropy": "Entropy of the softmax",
    "largest_weight": "Largest weight of the softmax",
    "gradient": "Gradient norm",
}
"""The probe's measures with a panel, each with its title."""


@dataclass(frozen=True)
class StudyPage:
    """What a study's page shows. Texts are Markdown; `picture` is the forest plot as SVG, empty where there is none.

    `runs` are the hashes of the runs that the study's report counts, one at least; `baseline_run` and `report_run` the
    ids of a run of the baseline, and of one that holds the picture. `splits` has the one on which the study is judged
    first, and is empty before the first score.
    """

    study: str
    question: str
    headline: str
    splits: Sequence[str]
    variants: int
    runs: Sequence[str]
    baseline_run: str
    report_run: str
    differences: str
    table: str
    samples: str
    picture: str


def build_workspace(page: StudyPage, entity: str, project: str) -> "Workspace":
    """Return the workspace: scores, curves, differences, cost and samples open, probes closed."""
    ws, wr = _library()
    count = len(page.runs)
    sections = [
        ws.Section(
            "What each change is worth",
            [wr.MarkdownPanel(page.differences)],
            is_open=True,
            pinned=True,
            layout_settings=ws.SectionLayoutSettings(columns=1, rows=1),
        ),
        ws.Section("Scores", _bars(page, wr), is_open=True),
        ws.Section(
            "Validation",
            [
                _curve(wr, count, "valid/ppl", "Validation perplexity", log_y=True),
                _curve(wr, count, "train/loss", "Training loss"),
            ],
            is_open=True,
        ),
        ws.Section("Quality against cost", _clouds(page, wr), is_open=True),
        ws.Section(
            "Samples",
            [wr.MarkdownPanel(page.samples), wr.WeavePanelSummaryTable(table_name="samples")],
            is_open=True,
            layout_settings=ws.SectionLayoutSettings(columns=1, rows=2),
        ),
        ws.Section(
            "Speed, memory and gradients",
            [
                _curve(wr, count, "cost/target_tokens_per_second", "Target tokens per second"),
                _curve(wr, count, "cost/share_of_peak", "Share of the device's peak"),
                _curve(wr, count, "cost/memory_gb", "Memory, GB"),
                _curve(wr, count, "train/gradient_norm", "Gradient norm before clipping"),
            ],
        ),
        ws.Section(
            "Probes",
            [
                _curve(wr, count, None, title, metric_regex=rf"^{PROBES.removesuffix('*')}.*/{measure}$")
                for measure, title in PROBED.items()
            ],
        ),
    ]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=page.study,
        sections=sections,
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=count),
        runset_settings=ws.RunsetSettings(
            filters=[ws.Config("study") == page.study, ws.Config("run_hash").isin(list(page.runs))],
            groupby=[ws.Config("variant")],
            pinned_columns=[f"summary:{split}/{score}" for split in page.splits[:1] for score in ("bleu", "ppl")],
            baseline_run=page.baseline_run or None,
        ),
    )


def build_report(page: StudyPage, entity: str, project: str, *, known: bool) -> "Report":
    """Return the report: headline, corrected table, forest plot, scores and attention.

    `known`: the project is on the server, which gives its id.
    """
    ws, wr = _library()
    place = {"entity": entity, "project": project} if known else {}

    def runs_of(name: str, *filters: Any, **more: Any) -> Any:
        return wr.Runset(name=name, filters=list(filters), **place, **more)

    counted = ws.Config("run_hash").isin(list(page.runs))
    study = runs_of(page.study, ws.Config("study") == page.study, counted, groupby=["config.variant"])
    picture = runs_of("report", ws.Metric("ID") == page.report_run)
    baseline = runs_of("baseline", ws.Metric("ID") == page.baseline_run)
    wide = wr.Layout(w=24, h=14)
    blocks = [
        wr.P(page.headline),
        wr.H2("What each change is worth"),
        wr.PanelGrid(runsets=[picture], panels=[wr.MediaBrowser(media_keys=[PICTURE], num_columns=1, layout=wide)]),
        wr.MarkdownBlock(page.table),
        wr.H2("Scores and curves"),
        wr.PanelGrid(
            runsets=[study],
            panels=[*_bars(page, wr), _curve(wr, len(page.runs), "valid/ppl", "Validation perplexity", log_y=True)],
        ),
        wr.H2("Attention of the baseline"),
        wr.PanelGrid(
            runsets=[baseline], panels=[wr.MediaBrowser(media_keys=["attention"], num_columns=1, layout=wide)]
        ),
    ]
    return wr.Report(project, entity=entity, title=page.study, description=page.question, blocks=blocks, width="fluid")


def specification(page: StudyPage, entity: str, project: str) -> dict[str, Any]:
    """Return what would be saved, as the library sends it, without asking any server."""
    workspace, report = build_workspace(page, entity, project), build_report(page, entity, project, known=False)
    return {  # the library has no public name for what `save` sends
        name: built._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)
        for name, built in (("workspace", workspace), ("report", report))
    }


def save(page: StudyPage, entity: str, project: str, record: Path) -> dict[str, str]:
    """Make or update the study's workspace and report, and return their addresses; `record` keeps them for next time.

    Raises UserError where W&B does not take them.
    """
    ws, wr = _library()
    addresses = read_json(record) if record.exists() else {}
    workspace = build_workspace(page, entity, project)
    try:
        _send_picture(page, entity, project, record.parent)
        report = build_report(page, entity, project, known=True)
        if kept := _saved_before(ws.Workspace.from_url, addresses.get("workspace"), record):
            kept.name, kept.sections, kept.settings = workspace.name, workspace.sections, workspace.settings
            kept.runset_settings = workspace.runset_settings
        addresses["workspace"] = str((kept or workspace).save().url)
        write_json(record, addresses)
        if kept := _saved_before(wr.Report.from_url, addresses.get("report"), record):
            kept.title, kept.description, kept.blocks = report.title, report.description, report.blocks
        addresses["report"] = str((kept or report).save().url)
        write_json(record, addresses)
    except UserError:
        raise
    except Exception as error:
        why = f"W&B does not take the page of {page.study} ({reason(error)})"
        raise UserError(f"{why}; run the same command later") from None
    return {name: str(address) for name, address in addresses.items()}


def default_entity() -> str:
    """Return the entity of the user who is logged in. Raises UserError where the server does not answer."""
    be_quiet()
    try:
        import wandb

        return str(wandb.Api().default_entity)
    except Exception as error:
        raise UserError(f"W&B does not answer ({reason(error)}); run the same command later") from None


def _send_picture(page: StudyPage, entity: str, project: str, folder: Path) -> None:
    """Log the forest plot to a run of its own: a report shows what a run holds."""
    import wandb

    arguments = {"project": project, "entity": entity, "id": page.report_run, "name": f"{page.study}/report"}
    run = open_run(folder, "online", **arguments, job_type="report", config={"report_of": page.study})
    run.summary["headline"] = page.headline
    if page.picture:
        run.log({PICTURE: wandb.Html(page.picture, inject=False, data_is_not_path=True)})
    finish()


def _saved_before(load: Callable[[str], Any], address: str | None, record: Path) -> Any:
    """Return the workspace or report at an address of earlier, None for no address. Raises UserError if it is gone."""
    try:
        return load(address) if address else None
    except Exception as error:
        raise UserError(
            f"{address} cannot be updated ({reason(error)}); delete {record} and run the same command "
            "again to make a new one"
        ) from None


def _bars(page: StudyPage, wr: Any) -> list[Any]:
    """Return bars of BLEU and perplexity by variant, over all seeds that count."""
    names = [f"{split}/bleu" for split in page.splits] + [f"{split}/ppl" for split in page.splits[:1]]
    return [
        wr.BarPlot(
            title=f"{name}: mean over seeds, with its standard error",
            metrics=[name],
            groupby=wr.Config("variant"),
            groupby_aggfunc="mean",
            groupby_rangefunc="stderr",
            max_runs_to_show=len(page.runs),
            max_bars_to_show=page.variants,
        )
        for name in names
    ]


def _curve(wr: Any, count: int, metric: str | None, title: str, **more: Any) -> Any:
    """Return curves by variant over optimiser steps: the mean over seeds and a band of its standard error."""
    return wr.LinePlot(
        title=f"{title}: mean over seeds, with its standard error",
        x=STEP,
        y=[metric] if metric else [],
        groupby=wr.Config("variant"),
        groupby_aggfunc="mean",
        groupby_rangefunc="stderr",
        max_runs_to_show=count,
        **more,
    )


def _clouds(page: StudyPage, wr: Any) -> list[Any]:
    """Return scatter plots of BLEU against each cost of training."""
    costs = {"training_flops": "Training FLOPs", "seconds": "Seconds of training", "parameters": "Parameters"}
    return [
        wr.ScatterPlot(
            title=f"{page.splits[0]}/bleu against {title.lower()}",
            x=wr.SummaryMetric(f"training/{cost}"),
            y=wr.SummaryMetric(f"{page.splits[0]}/bleu"),
            log_x=True,
        )
        for cost, title in costs.items()
        if page.splits
    ]


def _library() -> tuple[Any, Any]:
    """Return the library's two modules. Raises UserError where it is not installed."""
    be_quiet()
    try:
        from wandb_workspaces import workspaces
        from wandb_workspaces.reports import v2
    except ModuleNotFoundError:
        raise UserError(
            "the dashboard needs wandb-workspaces: pip install -c constraints.txt -e '.[dashboard]'"
        ) from None
    return workspaces, v2
