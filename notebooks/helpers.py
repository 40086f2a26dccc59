"""What the lessons share: a small corpus, a short training, scores, a chart theme."""

import logging
import tempfile
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import altair as alt
import pytorch_lightning as pl
import torch

from data_modules.config import DataConfig, GrammarConfig
from data_modules.corpora.grammar import generate
from data_modules.prepared import PreparedCorpus, prepare
from data_modules.translation import TranslationDataModule
from experiments.scoring.bleu import score
from experiments.scoring.inference import to_line, translate_ids
from experiments.scoring.perplexity import perplexities
from lit_transformer import LitTransformer, ModelConfig, Transformer, build_transformer
from lit_transformer.config import (
    AttentionConfig,
    DecodeConfig,
    Ensemble,
    FeedForwardConfig,
    Initialisation,
    OptimConfig,
    Schedule,
)

SMALL = ModelConfig(
    d_model=64,
    encoder_layers=1,
    decoder_layers=1,
    attention=AttentionConfig(heads=4, d_k=16, d_v=16),
    feed_forward=FeedForwardConfig(d_ff=256),
    initialisation=Initialisation.xavier_fused_qkv,
)
"""The paper's model, small enough to learn short sentences in seconds on one core."""
DATA = DataConfig(
    source="de",
    target="en",
    vocab_size=1000,
    batch_tokens=512,
    grammar=GrammarConfig(
        train=6000,
        valid=200,
        test=200,
        test_comp=0,
        max_words=8,
        max_words_long=20,
        vocabulary=0.3,
        nesting=0.0,
        joining=0.0,
        held_out=0.0,
    ),
)
GREEDY = DecodeConfig(beam=1)
_FOLDER = tempfile.TemporaryDirectory(prefix="lessons-")  # until the kernel ends

torch.set_num_threads(1)  # matrices this small gain nothing from a second thread
alt.renderers.enable("svg")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")


@alt.theme.register("lessons", enable=True)
def _theme() -> alt.theme.ThemeConfig:
    """Return sizes that can still be read at the width of a phone."""
    palette = ["#0072b2", "#d55e00", "#009e73", "#aa4499", "#b8860b", "#7a7a7a"]
    axis: dict[str, Any] = {"labelFontSize": 12, "titleFontSize": 13}
    axis |= {"titleFontWeight": "normal", "gridOpacity": 0.5}
    config: Any = {"axis": axis, "range": {"category": palette}, "font": "sans-serif"}
    config |= {"view": {"stroke": None}, "aria": False}  # no label for every mark
    return {"width": 340, "height": 220, "background": "white", "config": config}


@cache
def small_corpus() -> PreparedCorpus:
    """Generate and prepare 6,000 German-English pairs, the same on every machine."""
    text = generate(DATA.grammar, DATA.source, DATA.target)
    return prepare(text, DATA, Path(_FOLDER.name) / "corpus")


class Losses(pl.Callback):
    """Keeps the training loss of every step, in nats per token."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any
    ) -> None:
        self.values.append(float(outputs["loss"]))


def fit(
    network: Transformer,
    data: Any,
    steps: int = 400,
    seed: int = 0,
    peak: float = 0.006,
    warmup: int = 60,
) -> list[float]:
    """Train a network on a data module or loader; return the loss of every step.

    The learning rate rises to `peak` over `warmup` steps and falls towards 0.
    """
    optim = OptimConfig(
        steps=steps, schedule=Schedule.linear, peak=peak, warmup=warmup, clip_norm=1.0
    )
    losses = Losses()
    trainer = pl.Trainer(
        max_steps=steps,
        max_epochs=-1,
        accelerator="cpu",
        limit_val_batches=0,
        callbacks=[losses],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(LitTransformer(network, optim, seed), data)
    network.eval()
    return losses.values


def train(
    config: ModelConfig, seed: int = 0, **settings: Any
) -> tuple[Transformer, list[float]]:
    """Train a new model on the small corpus as `fit` does; return it and its losses."""
    torch.manual_seed(seed)
    network = build_transformer(config, small_corpus().vocab_size)
    return network, fit(
        network,
        TranslationDataModule(small_corpus(), DATA, seed),
        seed=seed,
        **settings,
    )


def labels(ids: Sequence[int]) -> list[str]:
    """Return tokens as labels of an axis: numbered, as some repeat, and with EOS."""
    tokens = [small_corpus().tokenizer.decode([token]) for token in ids]
    return [f"{place} {text}" for place, text in enumerate(tokens, start=1)] + ["</s>"]


def translate(network: Transformer, sentences: Sequence[str]) -> list[str]:
    """Translate German sentences by greedy search."""
    tokenizer = small_corpus().tokenizer
    best = translate_ids([network], tokenizer.encode_batch(list(sentences)), GREEDY)
    return [to_line(tokenizer, hypotheses[0].tokens) for hypotheses in best]


def scores(network: Transformer, split: str = "test") -> dict[str, float]:
    """Return perplexity, with the true words before each given, and BLEU, without."""
    corpus, test = small_corpus(), small_corpus().split(split)
    ppl = perplexities([network], Ensemble.probabilities, corpus, split, 4096)["ppl"]
    translations = translate(network, test.source_text)
    bleu = score(
        test.source_text, test.target_text, translations, language=DATA.target
    )["bleu"]
    return {"perplexity": round(ppl, 2), "BLEU": round(bleu, 1)}
