"""Speed of decoding at the sizes that others publish, without a training.

    python -m benchmarks.drawn_decoding --size small
    python -m benchmarks.drawn_decoding --size base --beam 1

Weights and sentences are drawn, from a seed. All sentences of a batch are as long, and a translation as long as its
source: such a model never ends a sentence by itself, so every system does the same number of steps.
"""

import argparse
import random

from benchmarks.decoding import Subject, add_settings, compare, set_up
from benchmarks.sizes import SIZES, VOCABULARY
from experiments.common import cli
from lit_transformer.batch import UNK
from lit_transformer.config import DecodeConfig

LENGTHS = (19, 17, 16, 14, 13)
"""Tokens of the sentences of one batch after another, EOS not counted; 79 steps in all."""


def main() -> None:
    """Parse the command line, translate and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--size", choices=list(SIZES), default="small", help="small: d_model 256, 3 + 3 layers (default)"
    )
    parser.add_argument("--seed", type=int, default=0)
    add_settings(parser)
    args = parser.parse_args()
    set_up("medium", args.threads)
    compare(drawn(args), args)


def drawn(args: argparse.Namespace) -> Subject:
    """Draw a model and the sentences."""
    import torch

    from lit_transformer import build_transformer

    torch.manual_seed(args.seed)
    network = build_transformer(SIZES[args.size], VOCABULARY).eval()
    words = random.Random(args.seed)
    lengths = [LENGTHS[place // args.batch % len(LENGTHS)] for place in range(args.sentences)]
    sources = [[words.randrange(UNK + 1, VOCABULARY) for _ in range(length)] for length in lengths]
    tokens = [f"token{number}" for number in range(VOCABULARY)]
    tokens[: UNK + 1] = ["<pad>", "<s>", "</s>", "<unk>"]
    decode = DecodeConfig(beam=args.beam, alpha=0.0, extra_length=0)
    return Subject(network, tokens, sources, decode, {"size": args.size, "seed": args.seed})


if __name__ == "__main__":
    cli.run(main)
