"""What must hold for every model that a config can describe: one test per promise, over every enum member."""

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from lit_transformer import build_transformer
from lit_transformer.batch import TranslationBatch
from lit_transformer.config import Initialisation, ModelConfig, PositionConfig, Positions, Tying
from lit_transformer.tokens import PAD
from lit_transformer.transformer import Transformer
from tests.small_models import (
    BASE,
    PAIRS,
    REFUSED,
    VARIANTS,
    VOCAB,
    assert_close,
    batch_of,
    build,
    every_variant,
    padded,
)
from tests.twins.model import naive_logits


def packed_logits(model: Transformer, batch: TranslationBatch) -> Tensor:
    return model.logits(model.hidden(batch))


@every_variant
def test_equals_naive_twin_forward_and_backward(config: ModelConfig) -> None:
    model, batch = build(config).double().eval(), batch_of()  # in float64, so that rounding explains nothing
    logits, expected = packed_logits(model, batch), naive_logits(model, batch)
    assert_close(logits, expected, 1e-9)
    upstream = torch.randn_like(logits)
    parameters = list(model.parameters())
    for mine, twin in zip(
        torch.autograd.grad(logits, parameters, upstream),
        torch.autograd.grad(expected, parameters, upstream),
        strict=True,
    ):
        assert_close(mine, twin, 1e-9)


@every_variant
def test_a_gradient_reaches_every_parameter(config: ModelConfig) -> None:
    model, batch = build(config), batch_of()
    torch.nn.functional.cross_entropy(packed_logits(model, batch), batch.tgt_out).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        if not name.endswith("key.bias"):  # the softmax does not see what all keys share
            assert parameter.grad.abs().max() > 0, name


@every_variant
def test_a_later_token_changes_nothing_before_it(config: ModelConfig) -> None:
    model, (src, tgt_in, _) = build(config).eval(), padded(batch_of())
    before = model(src, tgt_in)
    if config.attention_at.decoder.mask.leaks:
        changed = torch.where(tgt_in == PAD, PAD, VOCAB - 1)
        changed[:, 0] = tgt_in[:, 0]
        assert (model(src, changed)[:, 0] - before[:, 0]).abs().max() > 1e-3
        return
    for place in range(1, tgt_in.shape[1]):
        changed = tgt_in.clone()
        changed[:, place:] = torch.where(tgt_in[:, place:] == PAD, PAD, VOCAB - 1)
        after = model(src, changed)
        assert torch.equal(after[:, :place], before[:, :place])
        if place == 1:  # without residuals the last places hardly differ, so only the longest change must show
            assert not torch.equal(after[:, place:], before[:, place:])


@every_variant
def test_a_sentence_alone_equals_the_sentence_in_a_batch(config: ModelConfig) -> None:
    model = build(config).eval().double()
    together = packed_logits(model, batch_of()).split(batch_of().tgt_layout.lengths.tolist())
    for pair, logits in zip(PAIRS, together, strict=True):
        assert_close(packed_logits(model, batch_of([pair])), logits, 1e-10)


@every_variant
def test_the_order_of_sentences_does_not_matter(config: ModelConfig) -> None:
    model, order = build(config).eval(), [2, 0, 3, 1]
    first = packed_logits(model, batch_of()).split(batch_of().tgt_layout.lengths.tolist())
    shuffled = batch_of([PAIRS[place] for place in order])
    second = packed_logits(model, shuffled).split(shuffled.tgt_layout.lengths.tolist())
    for place, logits in zip(order, second, strict=True):
        assert_close(logits, first[place])


def assert_close_unless_leaking(config: ModelConfig, stepped: Tensor, whole: Tensor) -> None:
    """A mask that leaks lets the whole pass see what a step cannot: there the two must differ."""
    if config.attention_at.decoder.mask.leaks:
        assert (stepped - whole).abs().max() > 1e-3
    else:
        assert_close(stepped, whole)


@every_variant
def test_cached_steps_equal_the_whole_pass(config: ModelConfig) -> None:
    model, (src, tgt_in, _) = build(config).eval(), padded(batch_of())
    tgt_in = torch.where(tgt_in == PAD, 7, tgt_in)  # every row goes on to the end
    expected = model(src, tgt_in)
    state = model.init_cache(model.encode(src))
    steps = []
    for place in range(tgt_in.shape[1]):
        logits, state = model.step(tgt_in[:, place], state)
        steps.append(logits)
    assert_close_unless_leaking(config, torch.stack(steps, 1), expected)
    assert state.seq_len == tgt_in.shape[1]


@every_variant
def test_selected_rows_go_on_as_the_sentences_they_are_of(config: ModelConfig) -> None:
    model, (src, tgt_in, _) = build(config).eval(), padded(batch_of())
    tgt_in = torch.where(tgt_in == PAD, 7, tgt_in)
    state, sentences = model.init_cache(model.encode(src)), torch.arange(len(src))
    # A sentence dropped and the hypotheses of the others repeated, then swapped within their sentences, then a sentence
    # dropped and the hypotheses of the others thinned out, then the order of the sentences changed.
    changes = [([0, 0, 1, 1, 3, 3], [0, 1, 3]), ([1, 0, 2, 3, 5, 5], None), ([0, 5], [0, 2]), ([1, 0], [1, 0])]
    for place, (rows, kept) in enumerate(changes):
        _, state = model.step(tgt_in[sentences, place], state)
        state = state.select(torch.tensor(rows), None if kept is None else torch.tensor(kept))
        sentences = sentences[rows]
    logits, _ = model.step(tgt_in[sentences, 4], state)
    assert_close_unless_leaking(config, logits, model(src, tgt_in)[sentences, 4])


@every_variant
def test_bfloat16_stays_finite_and_near(config: ModelConfig) -> None:
    model, batch = build(config), batch_of()
    with torch.autocast("cpu", torch.bfloat16):
        logits = packed_logits(model, batch)
    logits.float().logsumexp(-1).sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    exact = packed_logits(model, batch)
    assert (logits - exact).norm() < 0.1 * exact.norm()


@every_variant
def test_state_dict_round_trip(config: ModelConfig) -> None:
    one, other, batch = build(config), build(config), batch_of()
    assert not torch.equal(packed_logits(one, batch), packed_logits(other, batch))
    other.load_state_dict(one.state_dict())
    assert torch.equal(packed_logits(one, batch), packed_logits(other, batch))
    assert not any("table" in name for name in one.state_dict())


@every_variant
def test_the_seed_decides_the_initial_weights(config: ModelConfig) -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(build_transformer(config, VOCAB).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["output_embedding.weight"], states[2]["output_embedding.weight"])


def test_the_base_of_the_tests_refuses_only_what_cannot_be() -> None:
    assert set(REFUSED) == {
        "decoder_mixer.kind=fourier",  # every output needs the whole sentence
        "decoder_mixer.directions=bottom",  # a decoder cannot read backwards, nor need it be told to read forwards
        "decoder_mixer.directions=forward",
    }


def test_variants_hold_every_member_of_every_enum() -> None:
    names = set(VARIANTS)
    assert {f"positions.kind={member}" for member in Positions} <= names
    assert {f"embeddings.tying={member}" for member in Tying} <= names
    assert {f"initialisation={member}" for member in Initialisation} <= names


def test_cpu_kernels_agree() -> None:
    model, batch = build(BASE), batch_of()
    results = []
    for backend in (SDPBackend.MATH, SDPBackend.FLASH_ATTENTION):
        config = ModelConfig(d_model=16, encoder_layers=1, decoder_layers=1, dropout=0.0)
        torch.manual_seed(0)
        model = build(config)
        with sdpa_kernel(backend):
            logits = packed_logits(model, batch)
            results.append([logits, *torch.autograd.grad(logits.square().sum(), list(model.parameters()))])
    for math, flash in zip(*results, strict=True):
        assert_close(math, flash, 1e-4)


def test_public_logits_are_the_packed_ones_and_zero_at_padding() -> None:
    model, batch = build(BASE).eval(), batch_of()
    src, tgt_in, _ = padded(batch)
    wider = torch.cat([tgt_in, torch.zeros(len(tgt_in), 3, dtype=torch.int64)], dim=1)
    logits = model(src, wider)
    assert logits.shape == (*wider.shape, VOCAB)
    assert torch.equal(logits[wider != PAD], packed_logits(model, batch))
    assert not logits[wider == PAD].any()


@pytest.mark.parametrize("row", [[0, 5, 6], [5, 0, 6], [0, 0, 0]], ids=["left", "gap", "empty"])
def test_ids_padded_elsewhere_or_empty_are_refused(row: list[int]) -> None:
    model, good = build(BASE), torch.tensor([[5, 6, 2]])
    with pytest.raises(ValueError, match="src must hold sentences"):
        model(torch.tensor([row]), good)
    with pytest.raises(ValueError, match="tgt_in must hold sentences"):
        model(torch.cat([good, good]), torch.tensor([[4, 5, 6], row]))


def test_tying_shares_or_parts_three_matrices() -> None:
    matrices = {}
    for kind in Tying:
        model = build(VARIANTS[f"embeddings.tying={kind}"])
        matrices[kind] = [model.src_embedding.vectors, model.tgt_embedding.vectors, model.output_embedding]
        tied = [id(module.weight) for module in matrices[kind]]
        assert len(set(tied)) == {Tying.three_way: 1, Tying.two_way: 2, Tying.none: 3}[kind]
    assert matrices[Tying.two_way][1] is matrices[Tying.two_way][2]


def test_initial_weights_follow_their_laws() -> None:
    config = ModelConfig(d_model=256, encoder_layers=1, decoder_layers=1)
    model = build_transformer(config, 4000)
    assert model.output_embedding.weight.detach().std() == pytest.approx(256**-0.5, rel=0.01)
    layer = model.encoder.layers[0].sublayers
    network = layer["feed_forward"].inner
    assert network.fc1.weight.detach().abs().max() == pytest.approx((6 / (256 + 2048)) ** 0.5, rel=0.01)
    assert not network.fc1.bias.any()
    normal = build_transformer(ModelConfig(d_model=256, initialisation=Initialisation.normal), 4000)
    assert normal.encoder.layers[0].sublayers["mixer"].inner.in_proj.query.weight.detach().std() == pytest.approx(
        0.02, rel=0.02
    )


def test_only_learned_positions_bound_the_target() -> None:
    for kind in Positions:
        model = build(VARIANTS[f"positions.kind={kind}"])
        assert model.max_target_length == (32 if kind is Positions.learned else None)
    assert PositionConfig().max_length == 256
