"""What an evaluation found, on the cell's run on W&B: scores, samples, a page of attention, the model."""

from experiments.config.cell import Cell
from experiments.reporting.page.attention import page_of_split
from experiments.scoring.evaluation import Evaluation, primary_split
from experiments.tracking import login
from experiments.tracking import wandb as tracking
from experiments.tracking.artifacts import TrainedModel
from experiments.tracking.identity import files_folder, identity_of

SAMPLES = 20
"""Translations shown on W&B."""


def track(cell: Cell, found: Evaluation, wandb: str) -> None:
    """Add the scores, sample translations, a page of attention and the model to the cell's run on W&B.

    Not those of another search than the study's: its run shows what its report counts.
    """
    mode = login.wandb_mode(wandb)
    if mode == "disabled" or found.network is None or cell.decoding_overrides:
        return
    split = next(iter(found.translations))
    texts, translated = found.corpus.split(split), found.translations[split]
    rows = list(zip(texts.source_text, texts.target_text, translated.lines, strict=True))[:SAMPLES]
    known = ("study", "variant", "seed", "steps", "parameters", "data_hash", "config_hash", "code_hash", "git_commit")
    metadata = {key: found.record[key] for key in known}
    findings = tracking.Findings(
        scores=found.scores,
        primary=primary_split(list(found.translations)),
        samples=[{"source": s, "reference": r, "hypothesis": h} for s, r, h in rows],
        attention=page_of_split(cell.title, found.network, found.corpus.tokenizer, texts.source_text, translated.ids),
        model=TrainedModel(cell.model_folder, metadata, cell.config.tracking.upload_model),
    )
    tracking.log_scores(identity_of(cell, found.record["run_hash"]), files_folder(cell.run_folder), mode, findings)
