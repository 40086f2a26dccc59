"""A mixture of experts: by hand, against a loop over tokens, alone as in a batch, and kept in balance."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lit_transformer.components.experts import Experts, imbalance
from lit_transformer.components.feed_forward import build_feed_forward
from lit_transformer.config import FeedForward, FeedForwardConfig
from lit_transformer.flops import active_parameter_count, build_on_meta, parameter_count
from tests.small_models import BASE, VOCAB, assert_close, batch_of, build

D = 6
MODEL = replace(BASE, feed_forward=replace(BASE.feed_forward, kind=FeedForward.experts, top_k=1))


def mixture(experts: int = 5, top_k: int = 2, d_model: int = D, d_ff: int = 10) -> Experts:
    config = FeedForwardConfig(kind=FeedForward.experts, d_ff=d_ff, experts=experts, top_k=top_k, balance=0.5)
    part = build_feed_forward(config, d_model)
    assert isinstance(part, Experts)
    return part


def mixed(part: Experts, x: Tensor) -> Tensor:
    return part(x)


class Times(nn.Module):
    """An expert that is easy to foretell."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def test_a_mixture_by_hand() -> None:
    """Scores of ln 3, 0 and nearly minus infinity: probabilities 3/4, 1/4 and 0; the chosen are not scaled up to 1."""
    part = Experts([Times(10.0), Times(100.0), Times(1000.0)], d_model=2, top_k=1, balance=0.0)
    with torch.no_grad():
        part.router.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-100.0, -100.0]]) * torch.tensor(3.0).log())
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert_close(mixed(part, x), 0.75 * torch.tensor([[10.0, 0.0], [0.0, 100.0], [0.0, 100.0]]))
    part.top_k = 2
    assert_close(mixed(part, x[:2]), torch.tensor([[7.5 + 25.0, 0.0], [0.0, 75.0 + 2.5]]))


@pytest.mark.parametrize("train", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("top_k", [1, 2, 4, 5])
def test_a_mixture_is_a_loop_over_tokens(top_k: int, train: bool) -> None:
    part, x = mixture(top_k=top_k).double().train(train), torch.randn(40, D, dtype=torch.float64)
    rows = []
    for token in x:
        probabilities = (part.router.weight @ token).softmax(0)
        best = probabilities.argsort(descending=True)[:top_k]
        rows.append(sum(probabilities[number] * part.experts[number](token) for number in best))
    expected = torch.stack(rows)
    upstream = torch.randn_like(expected)
    assert_close(mixed(part, x), expected, 1e-12)
    for mine, twin in zip(
        torch.autograd.grad(mixed(part, x), list(part.parameters()), upstream),
        torch.autograd.grad(expected, list(part.parameters()), upstream),
        strict=True,
    ):
        assert_close(mine, twin, 1e-12)


def test_no_token_is_dropped_where_all_want_one_expert() -> None:
    part = mixture(top_k=1)
    x = torch.rand(300, D)
    with torch.no_grad():
        part.router.weight.zero_()[3] = 2.0
    y = mixed(part, x)
    assert_close(y, part.probabilities(x)[:, 3:4] * part.experts[3](x))
    y.sum().backward()
    assert part.experts[3].fc1.weight.grad.abs().max() > 0
    assert not part.experts[0].fc1.weight.grad.any()  # no token, no gradient, but a gradient there is


def test_a_token_goes_where_it_would_go_alone() -> None:
    part, x = mixture().eval(), torch.randn(50, D)
    together = mixed(part, x)
    for place in range(50):
        assert_close(mixed(part, x[place : place + 1]), together[place : place + 1], 1e-6)
    order = torch.randperm(50)
    assert_close(mixed(part, x[order]), together[order], 1e-6)


@torch.no_grad()
def test_companions_change_no_bit_of_a_token() -> None:
    """Without the rows that are filled up, companions that leave an expert few tokens would change the last bit."""
    part = mixture(experts=4, d_model=16, d_ff=24).eval()
    for _ in range(60):
        x = torch.randn(12, 16)
        other = torch.cat([x[:1], torch.randn(11, 16)])
        assert torch.equal(mixed(part, x)[0], mixed(part, other)[0])


def test_the_router_keeps_its_precision_under_autocast() -> None:
    part, x = mixture(), torch.randn(20, D)
    with torch.autocast("cpu", torch.bfloat16):
        probabilities, y = part.probabilities(x), mixed(part, x)
    assert probabilities.dtype == torch.float32
    assert torch.equal(probabilities, part.probabilities(x))
    assert_close(y.float(), mixed(part, x), 0.03)
    y.float().sum().backward()
    assert torch.isfinite(part.router.weight.grad).all()


def test_balance_is_1_where_all_are_equally_busy_and_e_where_one_does_all() -> None:
    uniform = torch.full((12, 4), 0.25)
    assert float(imbalance(uniform, torch.tensor([3, 3, 3, 3]))) == pytest.approx(1.0)
    assert float(imbalance(uniform, torch.tensor([12, 0, 0, 0]))) == pytest.approx(1.0)  # as Fedus et al. have it
    one = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).expand(12, 4)
    assert float(imbalance(one, torch.tensor([12, 0, 0, 0]))) == pytest.approx(4.0)
    skewed = torch.tensor([[0.7, 0.3], [0.6, 0.4], [0.2, 0.8]])
    assert float(imbalance(skewed, torch.tensor([2, 1]))) == pytest.approx(2 * (2 / 3 * 0.5 + 1 / 3 * 0.5))


def test_balance_of_a_pass_counts_every_choice() -> None:
    part, x = mixture(), torch.randn(30, D)
    mixed(part, x)
    probabilities = part.probabilities(x)
    counts = torch.zeros(5)
    for row in probabilities:
        counts[row.argsort(descending=True)[:2]] += 1
    expected = 0.5 * 5 * (counts / 60 * probabilities.mean(0)).sum()
    assert_close(part.balance_loss(), expected)


def test_descending_the_balance_makes_the_experts_equally_busy() -> None:
    part, x = mixture(experts=4, top_k=1), torch.randn(400, D) + 1.0
    with torch.no_grad():
        part.router.weight[0] += 0.5  # at first most tokens want this one
    busiest = []
    optimiser = torch.optim.Adam(part.parameters(), lr=0.02)
    for _ in range(100):
        mixed(part, x)
        loss = part.balance_loss()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        busiest.append(part.probabilities(x).argmax(-1).bincount(minlength=4).max() / 400)
    assert busiest[0] > 0.6
    assert busiest[-1] < 0.4


def test_the_balance_reaches_the_router_and_nothing_else() -> None:
    part = mixture()
    mixed(part, torch.randn(30, D))
    part.balance_loss().backward()
    assert part.router.weight.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in part.experts.parameters())


def test_the_balance_is_collected_in_training_and_handed_out_once() -> None:
    part, x = mixture(), torch.randn(30, D)
    mixed(part.eval(), x)
    assert part.balance_loss() is None
    mixed(part.train(), x)
    assert part.balance_loss() is not None
    assert part.balance_loss() is None


def test_a_model_sums_the_balance_of_its_layers() -> None:
    model, batch = build(MODEL), batch_of()
    assert model.auxiliary_losses() == {}
    model.hidden(batch)
    parts = [part for part in model.modules() if isinstance(part, Experts)]
    assert len(parts) == 4
    each = [part.imbalance.item() for part in parts]
    assert model.auxiliary_losses()["balance"].item() == pytest.approx(0.01 * sum(each))
    assert model.auxiliary_losses() == {}
    plain = build(BASE)
    plain.hidden(batch)
    assert plain.auxiliary_losses() == {}


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_a_token_leaves_the_other_experts_idle(top_k: int) -> None:
    config = replace(MODEL, feed_forward=replace(MODEL.feed_forward, top_k=top_k))
    expert = 2 * 16 * 24 + 24 + 16
    idle = 4 * (3 - top_k) * expert
    model, dense = build_on_meta(config, VOCAB), build_on_meta(BASE, VOCAB)
    assert parameter_count(model) - active_parameter_count(model) == idle
    assert parameter_count(model) - parameter_count(dense) == 4 * (2 * expert + 3 * 16)
