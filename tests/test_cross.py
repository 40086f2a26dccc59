"""What a decoder without attention is told of the source: which token, and nothing else; directions of reading."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lit_transformer import attention_maps
from lit_transformer.batch import Layout
from lit_transformer.components.cross import FixedReading, build_cross
from lit_transformer.components.mixers import build_mixers
from lit_transformer.config import Cross, CrossConfig, Directions, Mixer, MixerConfig
from lit_transformer.errors import UserError
from tests.small_mixers import places_with_gradient
from tests.small_models import BASE, assert_close, build

D = BASE.d_model
SOURCE = Layout.from_lengths(torch.tensor([4, 1, 3]))  # rows 0 to 3, 4, and 5 to 7
TARGET = Layout.from_lengths(torch.tensor([2, 3, 5]))
READ = {
    Cross.context: [3, 3, 4, 4, 4, 7, 7, 7, 7, 7],
    Cross.aligned: [0, 1, 4, 4, 4, 5, 6, 7, 7, 7],
}
"""The rows of the source that the ten target tokens read."""
fixed = pytest.mark.parametrize("kind", READ)


def reading(kind: Cross) -> FixedReading:
    part = build_cross(replace(BASE, cross_mixer=CrossConfig(kind))).double()
    assert isinstance(part, FixedReading)
    nn.init.normal_(part.out_proj.bias)
    return part


def memory_of(layout: Layout = SOURCE) -> Tensor:
    return torch.randn(layout.tokens, D, dtype=torch.float64, requires_grad=True)


@fixed
def test_each_target_token_reads_its_source_token(kind: Cross) -> None:
    part, memory, x = reading(kind), memory_of(), memory_of(TARGET)
    y, _ = part(x, TARGET, part.init_cache(memory, SOURCE))
    assert_close(y, part.out_proj(torch.cat([x, memory[READ[kind]]], -1)), 1e-12)
    for place, row in enumerate(READ[kind]):
        assert places_with_gradient(y[place], memory) == {row}
        assert places_with_gradient(y[place], x) == {place}


@fixed
def test_rows_that_part_read_on_where_their_own_sentences_stand(kind: Cross) -> None:
    """Rows 2, 2 and 0 go on for five steps after one of all three: hypotheses of the last and of the first sentence."""
    part, memory, token = reading(kind), memory_of(), memory_of(Layout.uniform(3, 1))
    one = Layout.uniform(3, 1)
    _, cache = part(token, one, part.init_cache(memory, SOURCE))
    cache = cache.select(torch.tensor([2, 2, 0]), None)
    expected = {Cross.context: [[7, 7, 3]] * 4, Cross.aligned: [[6, 6, 1], [7, 7, 2], [7, 7, 3], [7, 7, 3]]}[kind]
    for rows in expected:
        y, cache = part(token, one, cache)
        assert_close(y, part.out_proj(torch.cat([token, memory[rows]], -1)), 1e-12)


def test_one_vector_is_all_that_a_context_says() -> None:
    """Two sources whose last tokens' vectors agree are one source to the decoder; to attention they are two."""
    for kind in Cross:
        model = build(replace(BASE, cross_mixer=CrossConfig(kind))).double().eval()
        src, tgt = torch.tensor([[5, 6, 7, 8, 2]]), torch.tensor([[1, 9, 10]])
        memory = model.encode(src)
        other = replace(memory, x=torch.cat([torch.randn_like(memory.x[:-1]), memory.x[-1:]]))
        layout = Layout.uniform(1, 3)
        one, two = (model.decode(tgt.flatten(), layout, which) for which in (memory, other))
        assert torch.equal(one, two) is (kind is Cross.context)


def test_no_attention_no_weights() -> None:
    model = build(replace(BASE, cross_mixer=CrossConfig(Cross.context))).eval()
    assert attention_maps.cross_attention(model, [5, 6], [7]) is None
    assert attention_maps.attention_maps(model, [5, 6], [7]).cross == [None, None]


@pytest.mark.parametrize("kind", [Mixer.lstm, Mixer.gru])
@pytest.mark.parametrize(
    ("directions", "backwards"),
    [(Directions.both, [True] * 3), (Directions.bottom, [True, False, False]), (Directions.forward, [False] * 3)],
)
def test_which_layers_of_an_encoder_read_backwards(kind: Mixer, directions: Directions, backwards: list[bool]) -> None:
    config = replace(BASE, encoder_layers=3, encoder_mixer=MixerConfig(kind, directions=directions))
    layout = Layout.from_lengths(torch.tensor([2, 4]))
    for part, both in zip(build_mixers(config, causal=False), backwards, strict=True):
        x = memory_of(layout)
        y, _ = part.double()(x, layout)
        assert places_with_gradient(y[3], x) == ({2, 3, 4, 5} if both else {2, 3})


def test_a_decoder_has_no_directions_to_choose() -> None:
    with pytest.raises(UserError, match=r"model.decoder_mixer.directions is forward, but a decoder reads forwards"):
        replace(BASE, decoder_mixer=MixerConfig(Mixer.lstm, directions=Directions.forward))
