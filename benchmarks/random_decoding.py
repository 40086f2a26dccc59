"""Decoding speed with random weights, at model sizes from the literature.

    python -m benchmarks.random_decoding --size small
    python -m benchmarks.random_decoding --size base --beam 1

Weights and sentences are random, from a seed. Sentences of a batch have the same length, and translations the length of
their source: random weights never produce EOS, so every system takes the same number of steps.
"""

import argparse
import random

from benchmarks.decoding import Subject, add_settings, compare, set_up
from benchmarks.sizes import SIZES, VOCABULARY
from experiments.common import cli
from lit_transformer.config import DecodeConfig
from lit_transformer.tokens import UNK

LENGTHS = (19, 17, 16, 14, 13)
"""Sentence length of each batch in tokens without EOS; 79 steps in total."""


def main() -> None:
    """Parse the command line and run the benchmark."""
    args = parser().parse_args()
    set_up("medium", args.threads, args.device)
    compare(random_subject(args), args)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--size", choices=list(SIZES), default="small", help="small: d_model 256, 3 + 3 layers (default)"
    )
    parser.add_argument("--seed", type=int, default=0)
    add_settings(parser)
    return parser


def random_subject(args: argparse.Namespace) -> Subject:
    """Return a random model and random sentences."""
    import torch

    from lit_transformer import build_transformer

    torch.manual_seed(args.seed)
    network = build_transformer(SIZES[args.size], VOCABULARY).eval()
    generator = random.Random(args.seed)
    lengths = [LENGTHS[index // args.batch % len(LENGTHS)] for index in range(args.sentences)]
    sources = [[generator.randrange(UNK + 1, VOCABULARY) for _ in range(length)] for length in lengths]
    tokens = [f"token{number}" for number in range(VOCABULARY)]
    tokens[: UNK + 1] = ["<pad>", "<s>", "</s>", "<unk>"]
    decode = DecodeConfig(beam=args.beam, alpha=0.0, extra_length=0)
    return Subject(network, tokens, sources, decode, {"size": args.size, "seed": args.seed})


if __name__ == "__main__":
    cli.run(main)
