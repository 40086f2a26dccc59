"""The numbers published in Vaswani et al. 2017, "Attention Is All You Need" (arXiv 1706.03762), Tables 1 to 3.

They are facts for comparison, always shown under the label "paper"; none is a result of this project. `agreement` says
whether a study reproduces a row of Table 3. The paper reports one run per row and no spread. The standard deviation of
training runs from scratch is published for English-German elsewhere: 0.11 BLEU over ten runs (Raffel et al. 2020,
Table 1, another Transformer). A difference of two single runs within 1.96 sqrt(2) x 0.11 of zero is not separable from
noise, and that holds for several rows of the paper.
"""

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from scipy import stats

from experiments.reporting.statistics import LEVEL

LABEL = "paper"
TABLE2_TEST_SET = "newstest2014 EN-DE, tokenised"
TABLE3_TEST_SET = "newstest2013 EN-DE, tokenised BLEU"
RUN_SD = 0.11
"""Standard deviation of EN-DE BLEU over 10 trainings from scratch, from Raffel et al. 2020 (T5), Table 1."""
PAPER_NOISE = float(stats.norm.ppf((1 + LEVEL) / 2) * np.sqrt(2) * RUN_SD)
"""The difference of two single runs, in BLEU, beyond which its sign is separable from noise."""


@dataclass(frozen=True)
class LayerCost:
    """A row of Table 1: cost of a layer over n positions of width d; k kernel width, r neighbourhood."""

    layer: str
    complexity: str
    sequential_operations: str
    maximum_path_length: str


@dataclass(frozen=True)
class System:
    """A row of Table 2: tokenised BLEU on newstest2014; training FLOPs are time x GPUs x an assumed sustained rate."""

    model: str
    bleu_en_de: float | None = None
    bleu_en_fr: float | None = None
    flops_en_de: float | None = None
    flops_en_fr: float | None = None


Setting = int | float | str

BASE: dict[str, Setting] = {
    "N": 6,
    "d_model": 512,
    "d_ff": 2048,
    "h": 8,
    "d_k": 64,
    "d_v": 64,
    "P_drop": 0.1,
    "eps_ls": 0.1,
    "steps": 100_000,
    "positions": "sinusoidal",
}
"""The first row of Table 3, by its columns; positions, which row E describes in words, are a column here."""

KEYS = {
    "N": ("model.encoder_layers", "model.decoder_layers"),
    "d_model": ("model.d_model",),
    "d_ff": ("model.feed_forward.d_ff",),
    "h": ("model.attention.heads",),
    "d_k": ("model.attention.d_k",),
    "d_v": ("model.attention.d_v",),
    "P_drop": ("model.dropout",),
    "eps_ls": ("optim.label_smoothing",),
    "steps": ("optim.steps",),
    "positions": ("model.positions.kind",),
}
"""The config keys of the columns of Table 3."""


@dataclass(frozen=True)
class Ablation:
    """A row of Table 3: the cells that differ from base, perplexity per wordpiece, BLEU, parameters in millions."""

    group: str
    variant: str
    cells: dict[str, Setting] = field(hash=False)
    ppl: float
    bleu: float
    parameters_millions: float | None = None

    @property
    def change(self) -> str:
        """The cells in words: "h = 1, d_k = 512, d_v = 512"."""
        return ", ".join(f"{column} = {value}" for column, value in self.cells.items())


TABLE1 = (
    LayerCost("self-attention", "O(n^2 d)", "O(1)", "O(1)"),
    LayerCost("recurrent", "O(n d^2)", "O(n)", "O(n)"),
    LayerCost("convolutional", "O(k n d^2)", "O(1)", "O(log_k n)"),
    LayerCost("self-attention, restricted", "O(r n d)", "O(1)", "O(n/r)"),
)

TABLE2 = (
    System("ByteNet", bleu_en_de=23.75),
    System("Deep-Att + PosUnk", None, 39.2, None, 1.0e20),
    System("GNMT + RL", 24.6, 39.92, 2.3e19, 1.4e20),
    System("ConvS2S", 25.16, 40.46, 9.6e18, 1.5e20),
    System("MoE", 26.03, 40.56, 2.0e19, 1.2e20),
    System("Deep-Att + PosUnk ensemble", None, 40.4, None, 8.0e20),
    System("GNMT + RL ensemble", 26.30, 41.16, 1.8e20, 1.1e21),
    System("ConvS2S ensemble", 26.36, 41.29, 7.7e19, 1.2e21),
    System("Transformer base", 27.3, 38.1, 3.3e18, 3.3e18),
    System("Transformer big", 28.4, 41.8, 2.3e19, 2.3e19),
)

TABLE3 = (
    Ablation("base", "base", {}, 4.92, 25.8, 65),
    Ablation("A", "h1", {"h": 1, "d_k": 512, "d_v": 512}, 5.29, 24.9),
    Ablation("A", "h4", {"h": 4, "d_k": 128, "d_v": 128}, 5.00, 25.5),
    Ablation("A", "h16", {"h": 16, "d_k": 32, "d_v": 32}, 4.91, 25.8),
    Ablation("A", "h32", {"h": 32, "d_k": 16, "d_v": 16}, 5.01, 25.4),
    Ablation("B", "dk16", {"d_k": 16}, 5.16, 25.1, 58),
    Ablation("B", "dk32", {"d_k": 32}, 5.01, 25.4, 60),
    Ablation("C", "N2", {"N": 2}, 6.11, 23.7, 36),
    Ablation("C", "N4", {"N": 4}, 5.19, 25.3, 50),
    Ablation("C", "N8", {"N": 8}, 4.88, 25.5, 80),
    Ablation("C", "d256", {"d_model": 256, "d_k": 32, "d_v": 32}, 5.75, 24.5, 28),
    Ablation("C", "d1024", {"d_model": 1024, "d_k": 128, "d_v": 128}, 4.66, 26.0, 168),
    Ablation("C", "ff1024", {"d_ff": 1024}, 5.12, 25.4, 53),
    Ablation("C", "ff4096", {"d_ff": 4096}, 4.75, 26.2, 90),
    Ablation("D", "drop0", {"P_drop": 0.0}, 5.77, 24.6),
    Ablation("D", "drop0.2", {"P_drop": 0.2}, 4.95, 25.5),
    Ablation("D", "ls0", {"eps_ls": 0.0}, 4.67, 25.3),
    Ablation("D", "ls0.2", {"eps_ls": 0.2}, 5.47, 25.7),
    Ablation("E", "learned", {"positions": "learned"}, 4.92, 25.7),
    Ablation("big", "big", {"d_model": 1024, "d_ff": 4096, "h": 16, "P_drop": 0.3, "steps": 300_000}, 4.33, 26.4, 213),
)

SYSTEMS = {
    "bytenet_like": "ByteNet",
    "gnmt_like": "GNMT + RL",
    "convs2s_like": "ConvS2S",
    "moe_like": "MoE",
    "transformer_base_like": "Transformer base",
    "transformer_big_like": "Transformer big",
}
"""The row of Table 2 that a variant of this name resembles, in any study; without attention there is none."""

_BY_NAME = {row.variant.replace(".", ""): row for row in TABLE3}


def published(variant: str) -> Ablation | None:
    """Return the row of Table 3 of that name; a study cannot write its dot (`drop02`, `drop0_2`)."""
    return _BY_NAME.get(variant.replace(".", "").replace("_", ""))


def published_difference(variant: str) -> float | None:
    """Return the paper's BLEU of a variant minus base, one run each; None for base and off Table 3."""
    row, base = published(variant), TABLE3[0]
    return None if row is None or row is base else round(row.bleu - base.bleu, 2)


def published_system(variant: str) -> tuple[System | None, System | None]:
    """Return the rows of Table 2 that a variant resembles: the single system and its ensemble."""
    by_name = {system.model: system for system in TABLE2}
    name = SYSTEMS.get(variant, "")
    return by_name.get(name), by_name.get(f"{name} ensemble")


def implied(row: Ablation, base: dict[str, Setting]) -> dict[str, Setting]:
    """Return the settings of a row when base has the settings `base`, both by dotted config key.

    A number changes by the paper's ratio, a word to the paper's word; keys that the row does not change are left out.
    """
    return {key: _scaled(base[key], value, BASE[column]) for column, value in row.cells.items() for key in KEYS[column]}


def _scaled(base: Setting, value: Setting, paper_base: Setting) -> Setting:
    if isinstance(value, str) or isinstance(base, str) or isinstance(paper_base, str):
        return value
    return base * value / paper_base


class Agreement(StrEnum):
    """How a row of a study compares with the same row of the paper."""

    REPRODUCED = "reproduced"
    CONTRADICTED = "contradicted"
    UNCLEAR_HERE = "no difference shown here"
    UNCLEAR_THERE = "no difference shown in the paper"
    UNCLEAR_BOTH = "no difference shown in either"


AGREEMENT_RULE = (
    "Against the paper, a row is reproduced when it is better or worse here, by the rule above, the paper's difference "
    f"exceeds the noise of its single runs (±{PAPER_NOISE:.2f} BLEU, from a published standard deviation of "
    f"{RUN_SD:.2f} per run), and both have the same sign; contradicted when they have opposite signs; otherwise no "
    "difference is shown on one side or on both. Effect sizes are not compared, since corpus and scale differ."
)


def agreement(decision: int, paper_difference: float) -> Agreement:
    """Compare a row's decision (1 better, -1 worse, 0 neither) with the paper's difference in BLEU."""
    exceeds = abs(paper_difference) > PAPER_NOISE
    if decision == 0:
        return Agreement.UNCLEAR_HERE if exceeds else Agreement.UNCLEAR_BOTH
    if not exceeds:
        return Agreement.UNCLEAR_THERE
    return Agreement.REPRODUCED if decision * paper_difference > 0 else Agreement.CONTRADICTED
