"""Naive searches: slow, plain and obviously correct versions of greedy and beam search; tests compare the two."""

from collections.abc import Callable, Iterator

from lit_transformer.tokens import EOS

NextLogProbs = Callable[[list[int]], list[float]]  # tokens so far, without BOS -> log-probability of each next token


def naive_penalty(length: int, alpha: float) -> float:
    return ((5 + length) / 6) ** alpha


def naive_greedy(next_log_probs: NextLogProbs, max_length: int) -> list[int]:
    """Take the most probable token but PAD and BOS until EOS or the end."""
    tokens: list[int] = []
    while len(tokens) < max_length:
        log_probs = next_log_probs(tokens)
        best = max(range(EOS, len(log_probs)), key=lambda token: log_probs[token])
        if best == EOS:
            break
        tokens.append(best)
    return tokens


def naive_beam(
    next_log_probs: NextLogProbs, beam: int, alpha: float, max_length: int
) -> list[tuple[float, float, list[int]]]:
    """Search one sentence with Python lists to the very end; return the finished (score, log_prob, tokens), best first.

    Of the extensions of all live hypotheses, those among the best `beam` that end with EOS (at the last length: all
    of the best `beam`) are finished, and the best `beam` that do not end with EOS live on, until `beam` are finished.
    """
    live: list[tuple[float, list[int]]] = [(0.0, [])]
    finished = []
    for length in range(1, max_length + 1):
        extensions = []
        for total, tokens in live:
            log_probs = next_log_probs(tokens)
            extensions += [(total + log_probs[token], [*tokens, token]) for token in range(EOS, len(log_probs))]
        extensions.sort(key=lambda extension: -extension[0])
        for total, tokens in extensions[:beam]:
            if tokens[-1] == EOS or length == max_length:
                words = tokens[:-1] if tokens[-1] == EOS else tokens
                finished.append((total / naive_penalty(length, alpha), total, words))
        if len(finished) >= beam:
            break
        live = [(total, tokens) for total, tokens in extensions if tokens[-1] != EOS][:beam]
    return sorted(finished, reverse=True)


def naive_beam_to_the_limit(
    next_log_probs: NextLogProbs, beam: int, alpha: float, max_length: int
) -> list[tuple[float, float, list[int]]]:
    """Search as tensor2tensor does without an early end; return the best `beam` finished, best first.

    Of the 2 `beam` best extensions those with EOS are finished, and the best `beam` of the others live on, up to the
    last length. Where none is finished then, the live ones are returned.
    """
    live: list[tuple[float, list[int]]] = [(0.0, [])]
    finished = []
    for length in range(1, max_length + 1):
        extensions = []
        for total, tokens in live:
            log_probs = next_log_probs(tokens)
            extensions += [(total + log_probs[token], [*tokens, token]) for token in range(EOS, len(log_probs))]
        best = sorted(extensions, key=lambda extension: -extension[0])[: 2 * beam]
        finished += [
            (total / naive_penalty(length, alpha), total, tokens[:-1]) for total, tokens in best if tokens[-1] == EOS
        ]
        live = [(total, tokens) for total, tokens in best if tokens[-1] != EOS][:beam]
    cut_off = [(total / naive_penalty(max_length, alpha), total, tokens) for total, tokens in live]
    return sorted(finished or cut_off, reverse=True)[:beam]


def every_sequence(next_log_probs: NextLogProbs, alpha: float, max_length: int) -> list[tuple[float, float, list[int]]]:
    """Score every sequence that ends with EOS or has `max_length` tokens: (score, log_prob, tokens), best first."""

    def grow(tokens: list[int], total: float) -> Iterator[tuple[float, float, list[int]]]:
        length = len(tokens) + 1
        for token, log_prob in list(enumerate(next_log_probs(tokens)))[EOS:]:
            grown = total + log_prob
            if token == EOS or length == max_length:
                words = tokens if token == EOS else [*tokens, token]
                yield grown / naive_penalty(length, alpha), grown, words
            else:
                yield from grow([*tokens, token], grown)

    return sorted(grow([], 0.0), reverse=True)
