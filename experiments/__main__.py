"""`python -m experiments COMMAND ...`: one entry for everything; without a command, the list of them.

A command's module is imported only when it runs, so that the list costs nothing.
"""

import sys
from importlib import import_module

COMMANDS = {
    "Run a study": {
        "prepare": "read or generate the corpus, train the tokenizer, write token ids",
        "train": "train one cell: one variant, one seed",
        "evaluate": "translate and score one trained cell, or an ensemble of seeds",
        "tune": "run one trial of a study whose rows each get their own learning rate",
        "report": "write a study's table, figures and page",
        "publish": "keep a study's results in git, small: scores, cost, curves, table, figure",
        "launch": "bring a whole study up to date, several cells at once",
        "array": "run a study as a Slurm array, one job per cell",
        "stages": "write the dvc.yaml of every study from its template",
        "plan": "estimate cost, time and statistical power before anything runs",
    },
    "Compare": {
        "compare": "set two studies, or two revisions of one, side by side",
        "ladder": "ask what a cheap corpus predicts about an expensive one",
        "layers": "measure the costs per layer of the paper's Table 1",
    },
    "Use a model": {
        "translate": "translate standard input",
        "attention": "draw what a model attends to",
        "export": "write safetensors, Hugging Face Marian or CTranslate2",
        "sync": "send offline runs to W&B",
        "dashboard": "make or update a study's page on W&B",
    },
    "Look things up": {
        "components": "list every component, with its source and the line that selects it",
        "describe": "print a variant's layers, parameters and operations",
    },
}


def main() -> None:
    """Dispatch to the command named first, which then sees the arguments that follow."""
    known = {name for group in COMMANDS.values() for name in group}
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print(usage())
        return
    if name not in known:
        from lit_transformer.errors import nearest

        print(f"error: no command '{name}'{nearest(name, known)} (python -m experiments lists them)", file=sys.stderr)
        sys.exit(2)
    from experiments.common import cli

    sys.argv = [f"python -m experiments {name}", *sys.argv[2:]]
    cli.run(import_module(f"experiments.commands.{name}").main)


def usage() -> str:
    """Return the list of commands by purpose."""
    lines = ["usage: python -m experiments COMMAND ...    (python -m experiments COMMAND --help tells more)"]
    for title, group in COMMANDS.items():
        lines += ["", f"{title}:", *(f"  {name:<12}{about}" for name, about in group.items())]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
