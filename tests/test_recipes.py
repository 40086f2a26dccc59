"""Recipes: each differs from the paper in exactly its column of the table, and stands where it is named."""

from typing import Any

import pytest
import yaml

from experiments.config.run_config import RunConfig, config_hash, flatten, resolve, to_dict, to_yaml
from lit_transformer.config import Initialisation, Mask, Placement, Positions, Smoothing
from lit_transformer.errors import UserError
from lit_transformer.recipes import Recipe, deltas, switched

# topic: our keys, then the cells of the paper, of the first public code (2017-06) and of transformer_base_v3
TABLE: dict[str, tuple[tuple[str, ...], tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]] = {
    "norm placement": (("model.norm.placement",), ("post",), ("post",), ("pre",)),
    "warm-up and multiplier": (("optim.warmup", "optim.multiplier"), (4000, 1.0), (4000, 1.0), (8000, 2.0)),
    "Adam beta2": (("optim.beta2",), (0.98,), (0.98,), (0.997,)),
    "attention and ReLU dropout": (
        ("model.attention.dropout", "model.feed_forward.dropout"),
        (0.0, 0.0),
        (0.0, 0.0),
        (0.1, 0.1),
    ),
    "attention projections' bias": (("model.attention.bias",), (False,), (True,), (False,)),
    "initial W_Q, W_K and W_V": (  # 2017: the nearest, for cross-attention
        ("model.initialisation",),
        ("xavier_uniform",),
        ("xavier_fused_qkv",),
        ("xavier_uniform",),
    ),
    "sinusoid layout": (
        ("model.positions.kind",),
        ("sinusoidal",),
        ("sinusoidal_concatenated",),
        ("sinusoidal_concatenated",),
    ),
    "label smoothing over": (("optim.smoothing",), ("all",), ("others",), ("others",)),
    "norm eps": (("model.norm.eps",), (1e-6,), (1e-6,), (1e-6,)),  # the paper says none; this one is our default
    "end of the search": (("decode.stop",), ("beam_finished",), ("nothing_better",), ("nothing_better",)),
    "mask value": (("model.attention.mask",), ("minus_inf",), ("minus_1e9",), ("minus_1e9",)),  # v3: the nearest
}


def flat(config: RunConfig) -> dict[str, Any]:
    return flatten(to_dict(config))


@pytest.mark.parametrize("column", range(3), ids=list(Recipe))
def test_a_recipe_is_its_column_of_the_table_and_nothing_else(column: int) -> None:
    recipe = list(Recipe)[column]
    paper, own = flat(RunConfig()), flat(resolve([{"recipe": str(recipe)}]))
    expected = {key: cell for keys, *cells in TABLE.values() for key, cell in zip(keys, cells[column], strict=True)}
    assert {key: own[key] for key in expected} == expected
    differing = {key for key in own if own[key] != paper[key]} - {"recipe"}
    assert differing == {key for keys, *_ in TABLE.values() for key in keys if _cell(key, column) != _cell(key, 0)}
    assert own["recipe"] == str(recipe)
    assert set(deltas(recipe)) <= set(expected)


def _cell(key: str, column: int) -> Any:
    return next(cells[column][keys.index(key)] for keys, *cells in TABLE.values() if key in keys)


def test_the_default_is_the_papers_recipe() -> None:
    assert resolve([]) == resolve([{"recipe": "paper"}]) == RunConfig()
    assert deltas(Recipe.paper) == {}


def test_both_released_recipes_build_typed_settings() -> None:
    config = resolve([], ["recipe=t2t_v3"])
    assert config.model.norm.placement is Placement.pre
    assert config.model.positions.kind is Positions.sinusoidal_concatenated
    assert config.model.attention.mask is Mask.minus_1e9
    assert config.optim.smoothing is Smoothing.others


def test_a_layers_own_keys_win_over_its_recipe_wherever_they_stand_in_it() -> None:
    for layer in (
        {"recipe": "t2t_v3", "optim": {"warmup": 100}, "model": {"norm": {"eps": 0.5}}},
        {"optim": {"warmup": 100}, "model": {"norm": {"eps": 0.5}}, "recipe": "t2t_v3"},
    ):
        config = resolve([layer])
        assert (config.optim.warmup, config.optim.multiplier) == (100, 2.0)
        assert (config.model.norm.eps, config.model.norm.placement) == (0.5, Placement.pre)


def test_a_later_recipe_wins_over_earlier_layers_and_leaves_what_it_does_not_name() -> None:
    base = {"model": {"d_model": 64, "positions": {"kind": "learned"}}, "optim": {"warmup": 100, "beta2": 0.9}}
    config = resolve([base, {"recipe": "t2t_2017"}])
    assert config.model.d_model == 64
    assert config.model.positions.kind is Positions.sinusoidal_concatenated
    assert (config.optim.warmup, config.optim.beta2) == (100, 0.9)  # those of the paper are not of this recipe
    assert resolve([base, {"recipe": "t2t_v3"}]).optim.warmup == 8000


@pytest.mark.parametrize("before", Recipe)
@pytest.mark.parametrize("recipe", Recipe)
def test_a_recipe_after_another_is_as_if_it_stood_alone(before: Recipe, recipe: Recipe) -> None:
    assert resolve([{"recipe": str(before)}, {"recipe": str(recipe)}]) == resolve([{"recipe": str(recipe)}])
    assert resolve([{"recipe": str(before)}], [f"recipe={recipe}"]) == resolve([], [f"recipe={recipe}"])


def test_switching_names_only_what_one_of_the_two_sets() -> None:
    assert switched(Recipe.paper, Recipe.paper) == {}
    back = switched(Recipe.t2t_2017, Recipe.paper)
    assert back["model"]["attention"] == {"bias": False, "mask": Mask.minus_inf}
    assert back["model"]["initialisation"] is Initialisation.xavier_uniform
    assert back["optim"] == {"smoothing": Smoothing.all}


def test_the_order_on_the_command_line_counts() -> None:
    assert resolve([], ["optim.warmup=5", "recipe=t2t_v3"]).optim.warmup == 8000
    assert resolve([], ["recipe=t2t_v3", "optim.warmup=5"]).optim.warmup == 5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("t2t_v33", "recipe is 't2t_v33'; did you mean 't2t_v3'? (recipes: paper, t2t_2017, t2t_v3)"),
        ("", "recipe is ''"),
        (None, "recipe is 'None'"),
        ({"name": "paper"}, "recipe is '{'name': 'paper'}'"),
        (["paper"], "recipe is '['paper']'"),
    ],
)
def test_an_unknown_recipe_is_one_line(name: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve([{"recipe": name}], where="here")
    assert str(caught.value).startswith(f"here: {message}")
    assert "\n" not in str(caught.value)


def test_an_unknown_recipe_on_the_command_line_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^here: recipe is 'papr'; did you mean 'paper'\?"):
        resolve([], ["recipe=papr"], where="here")


def test_a_recipes_yaml_resolves_to_it() -> None:
    config = resolve([{"recipe": "t2t_v3", "optim": {"warmup": 7}}])
    assert resolve([yaml.safe_load(to_yaml(config))]) == config


def test_the_name_of_a_recipe_is_no_part_of_the_hash_but_its_settings_are() -> None:
    named = resolve([{"recipe": "t2t_2017"}])
    spelt_out = resolve([switched(Recipe.paper, Recipe.t2t_2017)])
    assert named != spelt_out
    assert config_hash(named, "data") == config_hash(spelt_out, "data")
    assert config_hash(named, "data") != config_hash(RunConfig(), "data")
