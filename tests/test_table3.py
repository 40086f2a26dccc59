"""The studies of Table 3: every row changes what the paper's row changes, by the paper's ratio, and nothing else."""

from functools import cache

import pytest

from experiments.config.run_config import RunConfig, flatten, to_dict
from experiments.config.study import ROOT, load_study
from experiments.reporting.paper import BASE, KEYS, TABLE3, Ablation, Setting, implied, published
from lit_transformer.config import Schedule
from lit_transformer.flops import build_on_meta, parameter_count
from tests.table3_models import PAPER_VOCAB, TABLE3_MODELS

NAMES = ["table3_grammar", "table3_multi30k", "table3_iwslt14", "table3_wmt14"]
STUDIES = pytest.mark.parametrize("name", NAMES)
ROWS = pytest.mark.parametrize("row", TABLE3, ids=lambda row: row.variant)


@cache
def configs(name: str) -> dict[str, RunConfig]:
    """Resolve every variant of a study, once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        study = load_study(name)
        assert study.baseline == "base"
        assert study.seeds == [0, 1, 2]
        return {variant: study.config(variant, 0) for variant in study.variants}


def config_of(name: str, row: Ablation) -> RunConfig:
    (config,) = [config for variant, config in configs(name).items() if published(variant) is row]
    return config


@cache
def settings(name: str, row: Ablation) -> dict[str, Setting]:
    return flatten(to_dict(config_of(name, row)))


@STUDIES
def test_the_studies_hold_the_papers_rows_in_its_order(name: str) -> None:
    assert [published(variant) for variant in configs(name)] == list(TABLE3)


@STUDIES
@ROWS
def test_a_row_changes_what_the_papers_changes_by_its_ratio(name: str, row: Ablation) -> None:
    base, own = settings(name, TABLE3[0]), settings(name, row)
    changed = {key: own[key] for key in base if own[key] != base[key]}
    expected = implied(row, base)
    assert set(changed) == {key for column in row.cells for key in KEYS[column]}
    for key, value in changed.items():  # sizes come out whole: no row asks for a part of a head or of a layer
        assert value == (pytest.approx(expected[key]) if isinstance(value, float) else expected[key])


def test_the_big_study_is_the_papers() -> None:
    own, config = settings("table3_wmt14", TABLE3[0]), config_of("table3_wmt14", TABLE3[0])
    for column, value in BASE.items():
        assert [own[key] for key in KEYS[column]] == [value] * len(KEYS[column])
    assert (config.data.vocab_size, config.data.batch_tokens) == (PAPER_VOCAB, 25_000)
    assert (config.data.source, config.data.target) == ("en", "de")
    assert (config.optim.schedule, config.optim.warmup, config.optim.multiplier) == (Schedule.paper, 4000, 1.0)
    assert (config.decode.beam, config.decode.alpha, config.decode.extra_length) == (4, 0.6, 50)


@ROWS
def test_the_big_studys_models_have_the_parameters_of_our_arithmetic(row: Ablation) -> None:
    expected, parameters = TABLE3_MODELS[row.variant]
    own = config_of("table3_wmt14", row)
    assert own.model == expected
    assert parameter_count(build_on_meta(own.model, own.data.vocab_size)) == parameters
