"""Export a trained cell: `python -m experiments export --study S --variant V --seed K --to F --out FOLDER`.

  safetensors   tensors, the whole config as JSON, the tokenizer; lit_transformer.load_exported(FOLDER) reads it
  marian        transformers.MarianMTModel.from_pretrained(FOLDER), and AutoTokenizer beside it
  ctranslate2   ctranslate2.Translator(FOLDER); needs the package ctranslate2

FOLDER must be new or empty. A model that the format cannot express is refused with every reason. The export is then
loaded as its users would load it, where their package is installed, and compared with the cell's own model. The
overrides are those of the training; decode.* become the defaults of Marian's `generate`.
"""

from collections.abc import Sequence

from experiments.common import cli
from experiments.exporting.model_card import Format


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and export."""
    parser = cli.cell_parser(__doc__ or "")
    parser.add_argument("--to", required=True, choices=list(map(str, Format)), help="the format")
    parser.add_argument("--out", required=True, type=cli.user_path, metavar="FOLDER", help="a new or empty folder")
    about = "the average of the weights that a run with optim.averaging keeps, instead of its last weights"
    parser.add_argument("--averaged", action="store_true", help=about)
    args = parser.parse_intermixed_args(argv)
    cell = cli.parse_cell(args)
    from experiments.exporting.export import export

    export(cell, Format(args.to), args.out, args.averaged)
