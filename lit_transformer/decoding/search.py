"""Greedy and beam search, batched over sentences, given a step function.

Letters: S unfinished sentences, W beam, n live hypotheses per sentence (1 before the first step), R = S * n rows.
"""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from lit_transformer.config import Stop
from lit_transformer.decoding.candidates import best_token, summing_dtype, word_candidates
from lit_transformer.decoding.hypothesis import Hypothesis, HypothesisTree, length_penalty
from lit_transformer.decoding.state import State, Step
from lit_transformer.errors import UserError
from lit_transformer.tokens import BOS, EOS

SYNC_EVERY = 8  # steps between checks for finished sentences, where a check makes the host wait for a device
SHRINK_FROM = 1 / 8  # fraction of greedy rows that must be done before the state is copied without them


@torch.inference_mode()
def greedy_search(step: Step[State], state: State, *, max_lengths: Tensor, alpha: float = 0.0) -> list[Hypothesis]:
    """Translate by taking the most probable token at every step; one hypothesis per sentence.

    `state` has one row per sentence; max_lengths (B,) int64, at least 1, on the model's device, limits the tokens of a
    sentence, including EOS; one without EOS by then is cut off. `alpha` affects the score, not the tokens.
    """
    limits, horizon = _limits(max_lengths)
    output = torch.full((len(limits), horizon), EOS, device=limits.device)  # (B, T)
    lengths = torch.zeros_like(limits)  # (B,)
    log_prob = torch.zeros_like(limits, dtype=summing_dtype(limits.device))  # (B,) nats
    sentences = torch.arange(len(limits), device=limits.device)  # (S,) the sentence of each row of the state
    done = torch.zeros_like(sentences, dtype=torch.bool)  # (S,)
    tokens = torch.full_like(sentences, BOS)  # (S,)
    for length in range(1, horizon + 1):
        logits, state = step(tokens, state)  # (S, V)
        gain, tokens = best_token(logits)
        tokens = tokens.where(~done, EOS)
        output[sentences, length - 1] = tokens
        log_prob.index_add_(0, sentences, gain.where(~done, 0))
        lengths.index_add_(0, sentences, (~done).long())
        done = done | (tokens == EOS) | (limits[sentences] <= length)
        if _may_sync(length, limits.device):
            rows = (~done).nonzero()[:, 0]
            if len(rows) == 0:
                break
            if len(rows) <= (1 - SHRINK_FROM) * len(done):
                state, tokens, sentences, done = state.select(rows, rows), tokens[rows], sentences[rows], done[rows]
    hypotheses = []
    for row, length, total in zip(output.tolist(), lengths.tolist(), log_prob.tolist(), strict=True):
        words = row[: length - 1] if row[length - 1] == EOS else row[:length]
        hypotheses.append(Hypothesis(words, total / length_penalty(length, alpha), total))
    return hypotheses


@torch.inference_mode()
def beam_search(
    step: Step[State],
    state: State,
    *,
    beam: int,
    alpha: float,
    max_lengths: Tensor,
    nbest: int = 1,
    stop: Stop = Stop.beam_finished,
) -> list[list[Hypothesis]]:
    """Translate by beam search; return for each sentence its `nbest` best hypotheses, best first, distinct.

    Arguments as for `greedy_search`; fewer hypotheses are returned where fewer are possible.
    Score: log P(Y | X) / ((5 + |Y|) / 6) ** alpha, Wu et al. 2016, eq. 14, alpha >= 0; |Y| counts EOS.

    A step extends every live hypothesis by every token. Those among the W most probable extensions that end with EOS
    are finished; the W most probable that do not are the next live ones. At the sentence's maximum length all of the W
    most probable are finished, those without EOS scored by the tokens they have. A sentence is done when W hypotheses
    are finished, so that W = 1 is greedy search, or earlier when nothing can change (below).

    With `Stop.nothing_better`, as in tensor2tensor, those with EOS among the 2 W most probable extensions are finished,
    a sentence is done only when nothing can change, and hypotheses without EOS count only where none has finished. Its
    maximum length, there that of the longest sentence in the batch, is the sentence's own here.

    Claim: if the nbest-th best finished score is at least b = log P(L) / penalty(max length), L the most probable live
    hypothesis, continuing cannot improve any of the nbest. Proof: whatever finishes later is a continuation Y of some
    live L'. A factor of a probability is at most 1, so log P(Y) <= log P(L') <= log P(L) <= 0. With alpha >= 0 the
    penalty grows with length and is positive, and |Y| is at most the max length, so score(Y) = log P(Y) / penalty(|Y|)
    <= log P(L) / penalty(|Y|) <= b, the last because dividing a negative number by more brings it closer to 0.

    Raises UserError unless beam >= 1, alpha >= 0 and 1 <= nbest <= beam.
    """
    if beam < 1 or alpha < 0 or not 1 <= nbest <= beam:
        raise UserError(f"decode: beam {beam}, alpha {alpha}, nbest {nbest}: needs alpha >= 0 and 1 <= nbest <= beam")
    limits, horizon = _limits(max_lengths)
    if not len(limits):
        return []
    tree = HypothesisTree()
    search = _Sentences.start(limits, beam, alpha)
    finished: list[_Sentences] = []
    tokens = torch.full_like(limits, BOS)  # (R,)
    for length in range(1, horizon + 1):
        logits, state = step(tokens, state)  # (R, V)
        tokens, rows = search.advance(logits, length, alpha, tree, stop)  # (S, n), (S, n)
        search.mark_done(length, nbest, stop)
        kept = None
        if _may_sync(length, limits.device) or length == horizon:
            left = (~search.done).nonzero()[:, 0]
            if len(left) < len(tokens):
                finished.append(search.select(search.done.nonzero()[:, 0]))
                search, tokens, rows, kept = search.select(left), tokens[left], rows[left], left
            if len(left) == 0:
                break
        if kept is not None or _reordered(rows, len(logits)):
            state = state.select(rows.flatten(), kept)
        tokens = tokens.flatten()
    return _hypotheses(finished, tree, len(limits), nbest)


@dataclass
class _Sentences:
    """The state of a beam search for S sentences: live hypotheses, and the best W finished ones, both sorted."""

    sentence: Tensor  # (S,) index in the batch
    limit: Tensor  # (S,) maximum length
    limit_penalty: Tensor  # (S,) length penalty at the maximum length
    done: Tensor  # (S,)
    finished: Tensor  # (S,) number of finished hypotheses
    live_log_prob: Tensor  # (S, n)
    live_node: Tensor  # (S, n)
    score: Tensor  # (S, W) finished; -inf where there is none yet
    log_prob: Tensor  # (S, W) finished
    node: Tensor  # (S, W) finished

    @classmethod
    def start(cls, limits: Tensor, beam: int, alpha: float) -> Self:
        """Return S sentences with one empty hypothesis each; `limits` (S,) are maximum lengths in tokens."""
        zeros = torch.zeros_like(limits)
        empty = limits.new_full((len(limits), beam), -torch.inf, dtype=summing_dtype(limits.device))
        return cls(
            sentence=torch.arange(len(limits), device=limits.device),
            limit=limits,
            limit_penalty=((5 + limits.to(empty.dtype)) / 6) ** alpha,
            done=zeros.bool(),
            finished=zeros,
            live_log_prob=torch.zeros_like(empty[:, :1]),
            live_node=zeros[:, None],
            score=empty,
            log_prob=empty,
            node=zeros[:, None].expand(-1, beam),
        )

    def select(self, rows: Tensor) -> Self:
        """Return the sentences of the given rows."""
        return type(self)(**{name: value[rows] for name, value in vars(self).items()})

    def advance(
        self, logits: Tensor, length: int, alpha: float, tree: HypothesisTree, stop: Stop
    ) -> tuple[Tensor, Tensor]:
        """Extend hypotheses by logits (S * n, V) of token number `length`; return live tokens and their parent rows."""
        sentences, live = self.live_log_prob.shape
        beam = self.score.shape[1]
        best = beam if stop is Stop.beam_finished else 2 * beam  # the extensions of which those with EOS are finished
        eos_gain, word_gain, words = word_candidates(logits, best)  # (R,), (R, k), (R, k)
        ended = self.live_log_prob + eos_gain.view(sentences, live)  # (S, n)
        extended = (self.live_log_prob[:, :, None] + word_gain.view(sentences, live, -1)).flatten(1)  # (S, n * k)
        ranked, place = extended.topk(min(best, extended.shape[1]), 1)  # (S, best), of which W are the next live ones
        log_prob, place = ranked[:, :beam], place[:, :beam]  # (S, n')
        parent = place // word_gain.shape[1]  # (S, n')
        tokens = words.view(sentences, -1).gather(1, place)  # (S, n')
        nodes = tree.grow(tokens, self.live_node.gather(1, parent))  # (S, n')
        # EOS before an equal word
        order = torch.cat([ended, ranked], 1).argsort(dim=1, descending=True, stable=True)[:, :best]
        among_best = ended.new_zeros(sentences, live + ranked.shape[1], dtype=torch.bool).scatter_(1, order, True)
        finishing = among_best[:, : live + log_prob.shape[1]]  # (S, n + n')
        cut_off = (self.limit <= length)[:, None]
        if stop is Stop.nothing_better:
            cut_off = cut_off & ((self.finished + finishing[:, :live].sum(1)) == 0)[:, None]
        finishing[:, live:] &= cut_off
        candidates = torch.cat([ended, log_prob], 1)
        self._finish(candidates, torch.cat([self.live_node, nodes], 1), finishing, length, alpha)
        self.live_log_prob, self.live_node = log_prob, nodes
        return tokens, torch.arange(sentences, device=place.device)[:, None] * live + parent

    def _finish(self, log_prob: Tensor, nodes: Tensor, finishing: Tensor, length: int, alpha: float) -> None:
        """Add those of (S, C) candidates that are finishing, all of this length."""
        finishing = finishing & ~self.done[:, None] & (log_prob != -torch.inf)
        self.finished = self.finished + finishing.sum(1)
        score = (log_prob / length_penalty(length, alpha)).where(finishing, -torch.inf)
        self.score, best = torch.cat([self.score, score], 1).topk(self.score.shape[1], 1)  # (S, W)
        self.log_prob = torch.cat([self.log_prob, log_prob], 1).gather(1, best)
        self.node = torch.cat([self.node, nodes], 1).gather(1, best)

    def mark_done(self, length: int, nbest: int, stop: Stop) -> None:
        """Mark the sentences that are done; see `beam_search` for the proof of the bound."""
        bound = self.live_log_prob[:, 0] / self.limit_penalty
        self.done = self.done | (self.limit <= length) | (self.score[:, nbest - 1] >= bound)
        if stop is Stop.beam_finished:
            self.done = self.done | (self.finished >= self.score.shape[1])


def _hypotheses(finished: list[_Sentences], tree: HypothesisTree, sentences: int, nbest: int) -> list[list[Hypothesis]]:
    """Return the finished hypotheses of every sentence, best first, by its index in the batch."""
    columns = [torch.cat([getattr(part, name) for part in finished]) for name in ("score", "log_prob", "node")]
    scores, log_probs, nodes = (column[:, :nbest].flatten().tolist() for column in columns)
    ranked = list(map(Hypothesis, tree.read(nodes), scores, log_probs))
    hypotheses: list[list[Hypothesis]] = [[] for _ in range(sentences)]
    for place, index in enumerate(torch.cat([part.sentence for part in finished]).tolist()):
        best, *others = ranked[place * nbest : (place + 1) * nbest]
        hypotheses[index] = [best, *(other for other in others if other.score != -math.inf)]
    return hypotheses


def _limits(max_lengths: Tensor) -> tuple[Tensor, int]:
    """Return the limits and their maximum, 0 for no sentences."""
    horizon = max(limits := max_lengths.tolist(), default=0)
    if min(limits, default=1) < 1:
        raise UserError(f"decode: the most tokens of a sentence must be at least 1, not {min(limits)}")
    return max_lengths, horizon


def _reordered(rows: Tensor, before: int) -> bool:
    """Return whether rows (S, n) differ from `range(before)`, or would have to be read from a device to know."""
    if rows.numel() != before:
        return True
    if rows.shape[1] == 1:  # a beam of one extends each row in its place
        return False
    return rows.device.type != "cpu" or not torch.equal(rows.flatten(), torch.arange(before))


def _may_sync(length: int, device: torch.device) -> bool:
    return device.type == "cpu" or length % SYNC_EVERY == 0
