"""Prepare a corpus: `python -m experiments prepare --study S`, or `--corpus NAME [key=value ...]` to try one out.

Reads or generates the text, trains the joint tokenizer and writes token ids under data/<study> (or data/<corpus>).
NAME is `grammar` (embedded), `hub:NAME` (Hugging Face datasets), a folder of $LIT_CORPORA or a path to a folder.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from experiments.common import cli
from experiments.common.io import only_writer
from experiments.config.run_config import resolve
from experiments.config.stages import files_of, write_stages
from experiments.config.study import Study, load_study

PATIENCE = 3600.0
"""Seconds to wait for another process that prepares the same corpus."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and prepare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--study", help="prepare this study's corpus with its settings")
    which.add_argument("--corpus", help="grammar, hub:NAME, a folder of $LIT_CORPORA, or a path")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="with --corpus: such as data.vocab_size=8000")
    args = parser.parse_intermixed_args(argv)
    if args.study and args.overrides:
        parser.error("key=value goes with --corpus; a study's settings stand in its study.yaml")
    if args.study:
        study = load_study(args.study)
        name, config, folder = study.corpus, study.data_config, study.data_folder
    else:
        name, config = args.corpus, resolve([], args.overrides, where="command line").data
        folder = Path("data") / re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")

    from data_modules.corpora import corpus_from, load_corpus
    from data_modules.prepared import prepare

    raw = load_corpus(name if args.study else corpus_from(cli.STARTED_IN, name), config)
    with only_writer(Path("runs/prepare") / folder.name, patience=PATIENCE):
        corpus = prepare(raw, config, folder)
    print(f"{folder}:", "\n".join(corpus.report()))
    if args.study:
        _name_the_text_to_dvc(study)


def _name_the_text_to_dvc(study: Study) -> None:
    """Update a dvc.yaml that names no text, or that of another corpus, since DVC would not see a change of this one."""
    files = files_of(study)
    if any(path.exists() for path in files):
        for path in write_stages(files):
            print(f"{path} was out of date and is written anew, so that DVC sees a change of this corpus")
