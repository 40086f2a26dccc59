"""Translation of a batch by one model or an ensemble."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lit_transformer.batch import TranslationBatch
from lit_transformer.config import DecodeConfig, Ensemble
from lit_transformer.decoding import EnsembleState, Hypothesis, beam_search, ensemble_step, greedy_search
from lit_transformer.transformer import Transformer


def translate_batch(
    networks: Sequence[Transformer], batch: TranslationBatch, decode: DecodeConfig, nbest: int = 1
) -> list[list[Hypothesis]]:
    """Translate the sources of a batch; return each one's `nbest` best hypotheses, best first.

    Several networks form an ensemble. The batch is on the networks' device; its targets are not read.
    """
    step, init_state = _joint_step(networks, decode.ensemble)
    max_lengths = max_target_lengths(batch.src_layout.lengths, networks, decode)
    options: dict[str, Any] = {"alpha": decode.alpha, "max_lengths": max_lengths}
    if decode.beam == nbest == 1:  # a beam of one, with less to keep
        return [[only] for only in greedy_search(step, init_state(batch), **options)]
    return beam_search(step, init_state(batch), beam=decode.beam, nbest=nbest, **options)


def max_target_lengths(src_lengths: Tensor, networks: Sequence[Transformer], decode: DecodeConfig) -> Tensor:
    """Source tokens without EOS + 50, as in section 6.1; at most as many as a decoder has positions."""
    lengths = src_lengths - 1 + decode.extra_length
    limits = [network.max_target_length - 1 for network in networks if network.max_target_length is not None]
    return lengths.clamp(max=min(limits)) if limits else lengths


def _joint_step(networks: Sequence[Transformer], kind: Ensemble) -> tuple[Any, Any]:
    """Return the decoding step of all networks as one model, and the function that starts its state from a batch."""

    def init_states(batch: TranslationBatch) -> list[Any]:
        return [network.init_cache(network.encode_packed(batch.src, batch.src_layout)) for network in networks]

    if len(networks) == 1:
        return networks[0].step, lambda batch: init_states(batch)[0]
    step = ensemble_step([network.step for network in networks], kind)
    return step, lambda batch: EnsembleState(init_states(batch))
