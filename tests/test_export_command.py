"""The command that exports a cell: what stands in the folder, what users load from it, what is refused in one line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers

from data_modules.corpora.text import ParallelText, RawCorpus
from data_modules.prepared import PreparedCorpus, prepare
from experiments.common.io import write_json
from experiments.config.cell import Cell
from experiments.config.run_config import config_hash
from experiments.config.study import load_study
from experiments.exporting import comparison
from experiments.exporting.export import export
from experiments.exporting.model_card import Format
from lit_transformer import build_transformer
from lit_transformer.errors import UserError
from lit_transformer.export import load_exported, save_exported
from lit_transformer.tokens import EOS

ROOT = Path(__file__).parent.parent
STUDY = """
name: tiny
question: Does it travel?
corpus: made_up
baseline: base
seeds: [0]
base:
  recipe: paper
  model:
    d_model: 24
    encoder_layers: 2
    decoder_layers: 2
    attention: {heads: 3, d_k: 4, d_v: 6}
    feed_forward: {d_ff: 24}
  data: {vocab_size: 280}
  optim: {steps: 10}
  trainer: {accelerator: cpu, validate_every: 10}
  decode: {alpha: 0.0}
variants:
  base: {}
  squared: {model: {feed_forward: {kind: squared_relu}}}
  pre_norm: {model: {norm: {placement: pre}, feed_forward: {kind: swiglu}}}
"""
SENTENCES = ["the old dog sleeps", "a dog sees the old cat", "the cat sees a dog", "an old cat sleeps near the dog"]
FILES = {
    Format.safetensors: {"model.safetensors", "config.json", "tokenizer.json", "README.md"},
    Format.marian: {
        "model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
        "provenance.json", "README.md",
    },
    Format.ctranslate2: {
        "model.bin", "config.json", "shared_vocabulary.json", "tokenizer.json", "provenance.json", "README.md",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with random networks, as if trained, of every variant."""
    root = tmp_path_factory.mktemp("project")
    (root / "experiments/studies/tiny").mkdir(parents=True)
    (root / "experiments/studies/tiny/study.yaml").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        study = load_study("tiny")
        text = ParallelText(SENTENCES, [sentence.upper() for sentence in SENTENCES])
        raw = RawCorpus("made_up", "en", "de", {"train": text, "valid": text})
        corpus = prepare(raw, study.data_config, study.data_folder)
        for variant in study.variants:
            write_run(Cell(study, variant, 0), corpus)
    return root


@pytest.fixture(autouse=True)
def standing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


def write_run(cell: Cell, corpus: PreparedCorpus, **changes: object) -> None:
    torch.manual_seed(0)
    network = build_transformer(cell.config.model, corpus.vocab_size)
    cell.model_folder.mkdir(parents=True, exist_ok=True)
    save_exported(network, cell.model_folder)
    record = {"status": "finished", "steps": 10, "git_commit": "0123456789ab", "diverged_at": None}
    record["config_hash"] = config_hash(cell.config, corpus.hash)
    write_json(cell.record_path, record | changes)


def cell(variant: str = "base", *overrides: str) -> Cell:
    return Cell(load_study("tiny"), variant, 0, overrides)


def refused(cell: Cell, to: Format, out: Path, averaged: bool = False) -> str:
    with pytest.raises(UserError) as error:
        export(cell, to, out, averaged)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


@pytest.mark.parametrize("to", Format)
def test_the_folder_is_whole_and_says_where_it_is_from(to: Format, tmp_path: Path, capsys) -> None:
    if to is Format.ctranslate2:
        pytest.importorskip("ctranslate2")
    out = tmp_path / "new" / "folder"
    export(cell(), to, out)
    assert {path.name for path in out.iterdir()} == FILES[to]
    assert [path.name for path in out.parent.iterdir()] == ["folder"]
    printed = capsys.readouterr().out
    kept = out / ("config.json" if to is Format.safetensors else "provenance.json")
    provenance = json.loads(kept.read_text())
    provenance = provenance.get("provenance", provenance)
    training = json.loads((cell().record_path).read_text())
    corpus = PreparedCorpus.open("data/tiny")
    expected = {"study": "tiny", "variant": "base", "seed": 0, "data_hash": corpus.hash, "commit": "0123456789ab"}
    assert provenance.items() >= (expected | {"config_hash": training["config_hash"], "weights": "last"}).items()
    card = (out / "README.md").read_text()
    assert corpus.hash in card
    assert printed.startswith(f"{out}: ")
    assert printed.removeprefix(f"{out}: ").strip() in card
    assert {
        Format.safetensors: "the same to the bit in all",
        Format.marian: "on 4 validation pairs",
        Format.ctranslate2: "4 of 4 greedy translations",
    }[to] in printed


def test_the_exported_network_and_tokenizer_need_nothing_of_the_project(tmp_path: Path) -> None:
    export(cell(), Format.safetensors, tmp_path / "out")
    network = load_exported(tmp_path / "out")
    assert network.config == cell().config.model
    trained = load_exported(cell().model_folder).state_dict()
    assert all(torch.equal(trained[name], value) for name, value in network.state_dict().items())
    lines = (
        "import sys, lit_transformer; lit_transformer.load_exported(sys.argv[1]); "
        "print(*[name for name in ('omegaconf', 'pytorch_lightning', 'experiments', 'data_modules', 'wandb')"
        " if name in sys.modules])"
    )
    command = [sys.executable, "-c", lines, str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""


def test_marians_tokenizer_gives_our_ids_and_eos(tmp_path: Path) -> None:
    export(cell(), Format.marian, tmp_path / "out")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    ours = PreparedCorpus.open("data/tiny").tokenizer
    for text in [*SENTENCES, "two  blanks ", "öß 猫", "<pad> and </s> are text", ""]:
        ids = theirs(text).input_ids
        assert ids == [*ours.encode(text), EOS]
        assert theirs.decode(ids, skip_special_tokens=True) == ours.decode(ids)
    batch = theirs(SENTENCES, padding=True, return_tensors="pt")
    assert batch.attention_mask.sum(1).tolist() == [len(ours.encode(text)) + 1 for text in SENTENCES]
    assert (batch.input_ids == 0).equal(batch.attention_mask == 0)


def test_decode_settings_become_marians(tmp_path: Path) -> None:
    export(cell("base", "decode.beam=7", "decode.alpha=0.3"), Format.marian, tmp_path / "out")
    settings = transformers.GenerationConfig.from_pretrained(tmp_path / "out")
    assert (settings.num_beams, settings.length_penalty, settings.early_stopping) == (7, 0.3, True)
    assert "beam 7 and\nalpha 0.3" in (tmp_path / "out/README.md").read_text()


def test_what_a_format_cannot_express_is_refused_with_every_reason(tmp_path: Path) -> None:
    line = refused(cell("pre_norm"), Format.marian, tmp_path / "out")
    assert line.startswith("marian cannot express pre_norm: model.feed_forward.kind is swiglu (possible: relu, ")
    assert line.endswith("; model.norm.placement is pre (possible: post)")
    export(cell("squared"), Format.marian, tmp_path / "squared")
    pytest.importorskip("ctranslate2")
    line = refused(cell("squared"), Format.ctranslate2, tmp_path / "out")
    assert line.endswith("squared: model.feed_forward.kind is squared_relu (possible: relu, gelu, swish)")
    line = refused(cell("pre_norm"), Format.ctranslate2, tmp_path / "out")
    assert line.startswith("ctranslate2 cannot express pre_norm: model.feed_forward.kind is swiglu (")
    assert line.endswith("; model.norm.placement is pre (possible: post, deep_norm)")
    assert not (tmp_path / "out").exists()


def test_without_ctranslate2_the_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    assert "pip install ctranslate2" in refused(cell(), Format.ctranslate2, tmp_path / "out")


def test_without_transformers_marian_is_written_all_the_same(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    export(cell(), Format.marian, tmp_path / "out")
    assert "not compared with the network, since transformers is not installed" in capsys.readouterr().out


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep me")
    for out in (tmp_path, tmp_path / "mine"):
        assert "exists and is not an empty folder" in refused(cell(), Format.safetensors, out)
    assert (tmp_path / "mine").read_text() == "keep me"
    (tmp_path / "empty").mkdir()
    export(cell(), Format.safetensors, tmp_path / "empty")
    assert (tmp_path / "empty/config.json").is_file()


def test_a_cell_without_a_model_is_refused(tmp_path: Path) -> None:
    untrained = cell("base", "optim.steps=20")
    assert "training.json is missing; train the cell first" in refused(untrained, Format.safetensors, tmp_path / "out")
    write_run(untrained, PreparedCorpus.open("data/tiny"), status="diverged", diverged_at=3)
    assert "diverged at step 3: there is no model" in refused(untrained, Format.safetensors, tmp_path / "out")
    assert "has no averaged weights" in refused(cell(), Format.safetensors, tmp_path / "out", averaged=True)
    assert not any(tmp_path.iterdir())


def test_an_export_that_differs_is_never_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "LOGITS", 0.0)
    line = refused(cell(), Format.marian, tmp_path / "out")
    assert "has logits that differ by" in line
    assert not any(tmp_path.iterdir())


def test_a_comparison_sees_another_network(tmp_path: Path) -> None:
    corpus = PreparedCorpus.open("data/tiny")
    export(cell(), Format.safetensors, tmp_path / "plain")
    export(cell(), Format.marian, tmp_path / "marian")
    other = load_exported(tmp_path / "plain")
    with torch.no_grad():
        other.encoder.layers[0].sublayers["mixer"].inner.in_proj.query.weight.mul_(1.1)
    with pytest.raises(UserError, match="safetensors holds other numbers"):
        comparison.compare_safetensors(other, tmp_path / "plain")
    with pytest.raises(UserError, match="marian has logits that differ by"):
        comparison.compare_marian(other, tmp_path / "marian", corpus)
