"""The list of components and the description of a variant: what they print is what the config and the model hold."""

import re
from dataclasses import fields, is_dataclass
from operator import attrgetter
from typing import Any

import pytest
import yaml

from experiments.commands import components, describe
from experiments.config.run_config import RunConfig, flatten, resolve
from experiments.config.study import ROOT, STUDIES, list_studies, load_study
from experiments.planning.description import Size, parts_of
from lit_transformer.config import Kind, Mixer, Positions, Scale
from lit_transformer.errors import UserError
from lit_transformer.flops import Work, build_on_meta, forward_flops, parameter_count


def kinds_of(config: Any) -> set[type[Kind]]:
    values = [getattr(config, item.name) for item in fields(config)]
    own = {type(value) for value in values if isinstance(value, Kind)}
    return own.union(*(kinds_of(value) for value in values if is_dataclass(value)))


def test_every_member_of_every_enum_is_listed_once_with_a_line_and_a_source() -> None:
    listed = [entry.name for axis in components.every_axis() for entry in axis.entries]
    for kind in kinds_of(RunConfig()):
        for member in kind:
            assert listed.count(member.name) >= 1, member
            assert len(member.about) >= 3, member
            assert len(member.source) > 5, member
            assert "\n" not in member.about + member.source
    keys = [key for axis in components.every_axis() for key in axis.keys]
    assert "model.encoder_mixer.kind" in keys
    assert "model.attention" in keys
    assert not any("cross_attention" in key for key in keys)


def test_every_line_selects_what_it_stands_for() -> None:
    for axis in components.every_axis():
        for entry in axis.entries:
            for key, line in zip(axis.keys, entry.lines, strict=False):
                if "..." in line:
                    continue  # an option that takes a number
                selected = flatten(yaml.safe_load(line))
                config = resolve([yaml.safe_load(line)])
                for name, value in selected.items():
                    assert str(attrgetter(name)(config)) == str(value), (key, line)


def test_the_line_of_a_score_gives_it_as_its_paper_has_it() -> None:
    (scores,) = (axis for axis in components.every_axis() if "model.attention.score" in axis.keys)
    lines = {entry.name: entry.lines[0] for entry in scores.entries}
    for name in ("additive", "bilinear"):
        assert resolve([yaml.safe_load(lines[name])]).model.attention.scale is Scale.none, "they do not scale the score"
    assert lines["dot"] == "{model: {attention: {score: dot}}}"


def test_the_default_of_each_axis_is_marked_once() -> None:
    for axis in components.every_axis():
        if "Options" not in axis.about:
            assert [entry.default for entry in axis.entries].count(True) == 1, axis.keys


def test_a_line_that_is_always_refused_is_not_offered() -> None:
    (mixers,) = (axis for axis in components.every_axis() if "model.encoder_mixer.kind" in axis.keys)
    lines = {entry.name: entry.lines for entry in mixers.entries}
    assert lines[Mixer.fourier.name] == ("{model: {encoder_mixer: {kind: fourier}}}",)
    assert len(lines[Mixer.lstm.name]) == 2


def test_words_choose_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    components.main(["sinusoidal"])
    some = capsys.readouterr().out
    assert "* sinusoidal: " in some
    assert "Vaswani et al. 2017" in some
    assert "{model: {positions: {kind: sinusoidal}}}" in some
    assert "learned" not in some.split("sinusoidal:")[0]
    components.main([])
    everything = capsys.readouterr().out
    assert all(f" {member.name}: " in everything for member in Positions)
    with pytest.raises(UserError, match="no component has zebra in it"):
        components.main(["zebra"])


@pytest.fixture
def project_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.usefixtures("project_root")
@pytest.mark.parametrize("study", list_studies() or ["components"])
def test_the_parts_of_a_description_sum_to_the_model(study: str) -> None:
    assert (STUDIES / study / "study.yaml").exists()
    loaded = load_study(study)
    size = Size(vocab=1000, source=12, target=15, origin="made up")
    for variant in loaded.variants:
        config = loaded.config(variant, 0).model
        model = build_on_meta(config, 1000)
        *parts, total = parts_of(config, size)
        assert sum(part.parameters for part in parts) == total.parameters == parameter_count(model)
        work = Work(src=12, tgt=15, src_squared=144, tgt_squared=225, cross=180)
        assert total.operations * 15 == pytest.approx(forward_flops(model, work))


@pytest.mark.usefixtures("project_root")
def test_a_description_names_what_changed_and_what_it_costs(capsys: pytest.CaptureFixture[str]) -> None:
    describe.main(["--study", "components", "--variant", "small_dk", "--length", "10", "model.norm.placement=pre"])
    out = capsys.readouterr().out
    assert "attention.d_k 16 -> 4, norm.placement post -> pre" in out
    assert "LayerNorm, SelfAttention, Add" in out
    assert re.search(r"decoder cross x2 .*−12,288", out)  # 2 layers x 2 matrices x 64 x 4 heads x (16 - 4)
    assert re.search(r"encoder end +LayerNorm +128 +\+128", out)
    with pytest.raises(UserError, match="did you mean 'small_dk'"):
        describe.main(["--study", "components", "--variant", "smal_dk"])
