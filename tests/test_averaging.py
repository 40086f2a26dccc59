"""Averages of weights: means by hand, the moving average in closed form, what is tied stays tied."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lit_transformer.config import Averaging, AveragingConfig, Norm, NormConfig, OptimConfig
from lit_transformer.errors import UserError
from lit_transformer.training.averaging import MovingAverage, snapshot, uniform_mean
from tests.small_models import BASE, build


def states(count: int, seed: int = 0) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        {"matrix": torch.randn(3, 4, generator=generator), "steps": torch.tensor(10 * i)} for i in range(1, count + 1)
    ]


def test_the_mean_by_hand() -> None:
    found = uniform_mean(
        {"w": torch.tensor([one, 2.0]), "b": torch.tensor(one, dtype=torch.float64), "steps": torch.tensor(number)}
        for one, number in ((1.0, 5), (3.0, 6), (8.0, 7))
    )
    assert found["w"].tolist() == [4.0, 2.0]
    assert found["b"].item() == 4.0
    assert found["steps"].item() == 7  # whole numbers are the newest state's
    assert [found[name].dtype for name in found] == [torch.float32, torch.float64, torch.int64]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("count", [1, 3, 5, 7, 20])
def test_the_mean_of_equal_states_is_the_state_to_the_bit(count: int, dtype: torch.dtype) -> None:
    state = {"w": (torch.randn(500, generator=torch.Generator().manual_seed(1)) * 10.0 ** torch.arange(500).sub(250)
                   .div(10)).to(dtype)}  # fmt: skip
    assert torch.equal(uniform_mean([state] * count)["w"], state["w"])


def test_small_changes_of_large_weights_are_not_lost() -> None:
    """In float32 a sum of 20 would round these away."""
    values = [1e6 + i / 16 for i in range(20)]
    found = uniform_mean({"w": torch.tensor([value])} for value in values)
    assert found["w"].item() == torch.tensor(sum(values) / 20, dtype=torch.float64).float().item()


def test_states_of_two_networks_have_no_mean() -> None:
    with pytest.raises(ValueError, match="different networks"):
        uniform_mean([{"a": torch.ones(1)}, {"b": torch.ones(1)}])
    with pytest.raises(ValueError, match="no state"):
        uniform_mean([])


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.999])
def test_the_moving_average_in_closed_form(decay: float) -> None:
    """The mean of w_1 ... w_t with weights decay^(t - i), in float64; float32 rounds t times."""
    layer, average = nn.Linear(4, 3), MovingAverage(decay)
    seen = []
    for i in range(1, 31):
        with torch.no_grad():
            layer.weight.normal_(generator=torch.Generator().manual_seed(i))
        average.update(layer)
        seen.append(layer.weight.detach().double().clone())
        shares = [decay ** (i - j) for j in range(1, i + 1)]
        expected = sum(share * weight for share, weight in zip(shares, seen, strict=True)) / math.fsum(shares)
        torch.testing.assert_close(average.averaged(layer)["weight"].double(), expected, atol=2e-6, rtol=1e-5)
    assert average.updates == 30


def test_the_moving_average_is_adams_with_its_correction() -> None:
    """e = decay e + (1 - decay) w from 0, over 1 - decay^t: Kingma and Ba 2015, 7.2."""
    layer, average, plain = nn.Linear(2, 2, bias=False), MovingAverage(0.9), torch.zeros(2, 2, dtype=torch.float64)
    for i in range(1, 8):
        with torch.no_grad():
            layer.weight.fill_(i)
        average.update(layer)
        plain = 0.9 * plain + 0.1 * layer.weight.detach().double()
        torch.testing.assert_close(average.averaged(layer)["weight"].double(), plain / (1 - 0.9**i), atol=1e-5, rtol=0)


def test_the_moving_average_of_weights_that_rest_is_them_to_the_bit() -> None:
    model, average = build(BASE), MovingAverage(0.99)
    for _ in range(5):
        average.update(model)
    for name, value in average.averaged(model).items():
        assert torch.equal(value, model.state_dict()[name]), name


def perturbed(count: int) -> list[dict[str, Tensor]]:
    """Return copies of a network's state at several moments."""
    model, found = build(BASE), []
    for _ in range(count):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        found.append(snapshot(model))
    return found


def tied(state: dict[str, Tensor]) -> list[Tensor]:
    return [
        state[name]
        for name in ("src_embedding.vectors.weight", "tgt_embedding.vectors.weight", "output_embedding.weight")
    ]


def test_tied_matrices_stay_one() -> None:
    mean = uniform_mean(perturbed(3))
    model, average = build(BASE), MovingAverage(0.9)
    average.update(model)
    for state in (snapshot(model), mean, average.averaged(model)):
        assert len({value.data_ptr() for value in tied(state)}) == 1
        model.load_state_dict(state)
        assert model.output_embedding is model.src_embedding.vectors
        assert torch.equal(model.output_embedding.weight, tied(state)[2])


def test_a_snapshot_on_disk_holds_tied_matrices_once(tmp_path) -> None:
    state = snapshot(build(BASE))
    torch.save(state, tmp_path / "a.pt")
    found = torch.load(tmp_path / "a.pt", weights_only=True)
    assert len({value.data_ptr() for value in tied(found)}) == 1
    assert len({value.data_ptr() for value in tied(uniform_mean([found, found]))}) == 1


def test_a_snapshot_does_not_follow_the_network() -> None:
    model = build(BASE)
    state = snapshot(model)
    before = state["output_embedding.weight"].clone()
    with torch.no_grad():
        model.output_embedding.weight.zero_()
    assert torch.equal(state["output_embedding.weight"], before)


def test_the_statistics_of_batch_norm_are_averaged_and_its_count_is_the_newest() -> None:
    model, average, moments = build(replace(BASE, norm=NormConfig(kind=Norm.batch))), MovingAverage(0.0), []
    for i in range(1, 4):
        for name, buffer in model.named_buffers():
            if name.endswith("num_batches_tracked"):
                buffer.fill_(10 * i)
            elif name.endswith("running_mean"):
                buffer.fill_(float(i * i))
        moments.append(snapshot(model))
        average.update(model)
    mean = uniform_mean(moments)
    counts = [name for name in mean if name.endswith("num_batches_tracked")]
    means = [name for name in mean if name.endswith("running_mean")]
    assert counts
    assert means
    for state in (mean, average.averaged(model)):
        assert {state[name].item() for name in counts} == {30}
        assert {state[name].dtype for name in counts} == {torch.int64}
    assert all(torch.allclose(mean[name], torch.full_like(mean[name], 14 / 3)) for name in means)
    model.load_state_dict(mean)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"last": 0}, r"optim\.averaging\.last is 0; it must be at least 1"),
        ({"every": 0}, r"optim\.averaging\.every is 0; it must be at least 1"),
        ({"minutes": -1.0}, r"optim\.averaging\.minutes is -1.0; it must be at least 0"),
        ({"decay": 1.0}, r"optim\.averaging\.decay is 1.0; it must be at least 0 and below 1"),
    ],
)
def test_a_wrong_number_is_refused_in_one_line(wrong: dict, expected: str) -> None:
    with pytest.raises(UserError, match=rf"^{expected}$"):
        AveragingConfig(**wrong)


def test_a_training_too_short_for_its_average_is_refused_in_one_line() -> None:
    last = AveragingConfig(Averaging.last, last=5, every=30)
    with pytest.raises(UserError, match=r"every \(30\) does not divide optim\.steps \(200\); choose one that does"):
        OptimConfig(steps=200, averaging=last)
    with pytest.raises(
        UserError, match=r"last is 5 checkpoints.*at least 150, not 120: lower optim\.averaging\.every$"
    ):
        OptimConfig(steps=120, averaging=last)
    assert OptimConfig(steps=150, averaging=last).averaging.last == 5
    assert OptimConfig(steps=7, averaging=replace(last, minutes=0.1)).steps == 7  # the steps are not known before
    for kind in (Averaging.none, Averaging.ema):
        assert OptimConfig(steps=7, averaging=replace(last, kind=kind)).steps == 7


def test_nothing_is_averaged_unless_asked_for() -> None:
    assert OptimConfig().averaging.kind is Averaging.none
