"""What a token of each mixer can and cannot see: its reach, told by gradients, and what it remembers."""

import pytest
import torch

from lit_transformer.batch import Layout
from lit_transformer.config import Mixer
from tests.small_mixers import RAGGED, D, both_stacks, every_place, mixers, places_with_gradient, sentences
from tests.small_models import assert_close

WINDOW, KERNEL = 2, 3
LENGTH, PLACE = 11, 5


def reached(kind: Mixer, causal: bool) -> set[int]:
    """Return the places that the token at PLACE should depend on, in a layer of dilation 2 if it dilates."""
    ahead = 0 if causal else LENGTH
    match kind:
        case Mixer.local_attention:
            seen = range(PLACE - WINDOW, PLACE + min(WINDOW, ahead) + 1)
        case Mixer.gated_convolution | Mixer.lightweight_convolution | Mixer.dynamic_convolution:
            seen = range(3, 6) if causal else range(4, 7)
        case Mixer.dilated_convolution:
            seen = range(1, 6, 2) if causal else range(3, 8, 2)
        case _:
            seen = range(PLACE + 1) if causal else range(LENGTH)
    return set(seen)


@every_place
def test_a_token_reaches_exactly_the_places_it_should(kind: Mixer, causal: bool) -> None:
    part = mixers(causal, layers=2, kind=kind, window=WINDOW, kernel=KERNEL)[1]
    if kind is Mixer.dilated_convolution:
        part.convolution.bias.data.fill_(9.0)  # no unit is silent
    layout = Layout.from_lengths(torch.tensor([4, LENGTH, 13]))
    x = sentences(layout)
    y, _ = part(x, layout)
    assert places_with_gradient(y[4 + PLACE], x) == {4 + place for place in reached(kind, causal)}


def test_dilations_double_the_reach_a_layer() -> None:
    """Three layers of kernel 2 with dilations 1, 2 and 4 see 8 tokens: Kalchbrenner et al. 2016, section 3.3."""
    layout = Layout.uniform(1, 12)
    y = x = sentences(layout)
    for part in mixers(True, layers=3, kind=Mixer.dilated_convolution, kernel=2):
        part.convolution.bias.data.fill_(99.0)
        y, _ = part(y, layout)
    assert places_with_gradient(y[10], x) == set(range(3, 11))


@both_stacks
def test_a_window_as_wide_as_the_sentence_is_full_attention(causal: bool) -> None:
    (full,), x = mixers(causal, kind=Mixer.attention), sentences()
    expected, _ = full(x, RAGGED)
    for window, same in ((6, True), (5, False)):  # the longest sentence has 7 tokens
        (local,) = mixers(causal, kind=Mixer.local_attention, window=window)
        local.load_state_dict(full.state_dict())
        y, _ = local(x, RAGGED)
        assert torch.allclose(y, expected, atol=1e-12, rtol=0) is same


@every_place
def test_sentences_of_one_token(kind: Mixer, causal: bool) -> None:
    (part,) = mixers(causal, kind=kind)
    x = sentences()
    alone, _ = part(x[5:6], Layout.uniform(1, 1))
    for layout in (Layout.uniform(3, 1), Layout.from_lengths(torch.tensor([1, 1, 4]))):
        y, _ = part(x[5 : 5 + layout.tokens], layout)
        assert_close(y[:1], alone, 1e-10)
        (gradient,) = torch.autograd.grad(y.square().sum(), x)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("kind", "size"),
    [(Mixer.gated_convolution, 2), (Mixer.dilated_convolution, 4), (Mixer.dynamic_convolution, 2), (Mixer.average, 1)],
)
def test_the_past_does_not_grow(kind: Mixer, size: int) -> None:
    """A convolution remembers (kernel - 1) * dilation inputs, an average one sum."""
    part, cache = mixers(True, layers=2, kind=kind)[1], None
    for _ in range(6):
        _, cache = part(torch.randn(3, D, dtype=torch.float64), Layout.uniform(3, 1), cache)
        assert cache.tensors[0].numel() == 3 * size * D
