"""sacreBLEU's own test sets: read where it keeps them, never fetched, scored as any split."""

from pathlib import Path

import pytest
import sacrebleu

from experiments.commands import evaluate
from experiments.common.io import read_json
from experiments.scoring.testsets import read_testset
from lit_transformer.errors import UserError
from tests.small_cell import SENTENCES

CELL = ["--study", "tiny", "--variant", "base", "--seed", "3"]
pytestmark = pytest.mark.usefixtures("standing")


@pytest.fixture
def wmt14_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of wmt14/full as sacreBLEU leaves it after a download."""
    monkeypatch.setattr("sacrebleu.utils.SACREBLEU_DIR", str(tmp_path))
    folder = tmp_path / "wmt14/full"
    folder.mkdir(parents=True)
    (folder / "wmt14_full.en-de.src").write_text("".join(f"{line}\n" for line in SENTENCES[:3]))
    (folder / "wmt14_full.en-de.ref").write_text("".join(f"{line.title()}\n" for line in SENTENCES[:3]))
    return folder


def refusal(name: str = "wmt14/full", source: str = "en", target: str = "de") -> str:
    with pytest.raises(UserError) as caught:
        read_testset(name, source, target)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_cell_is_scored_on_it_apart_from_the_studys_results(project: Path, wmt14_folder: Path) -> None:
    evaluate.main([*CELL, "--testset", "wmt14/full"])
    folder = project / "runs/tiny/base/seed3/testsets/wmt14_full"
    scores = read_json(folder / "scores.json")
    own = scores["splits"]["wmt14_full"]
    hypotheses = (folder / "wmt14_full.txt").read_text().splitlines()
    references = (wmt14_folder / "wmt14_full.en-de.ref").read_text().splitlines()
    assert own["bleu"] == sacrebleu.corpus_bleu(hypotheses, [references]).score
    assert own["chrf"] == pytest.approx(sacrebleu.corpus_chrf(hypotheses, [references]).score)
    assert (own["sentences"], scores["testset"]) == (3, "wmt14/full")
    assert scores["testset_hash"] != scores["data_hash"]
    assert not (project / "experiments/studies/tiny/results/base/seed3/scores.json").exists()

    evaluate.main([*CELL, "--testset", "wmt14/full", "decode.beam=1"])
    (other,) = (project / "runs/tiny/base/seed3").glob("testsets+*/wmt14_full/scores.json")
    assert read_json(other)["decode"]["beam"] == 1


def test_a_set_that_is_not_on_disk_names_the_command_that_fetches_it(wmt14_folder: Path) -> None:
    message = refusal(source="de", target="en")
    assert f"wmt14/full is not in {wmt14_folder}" in message
    assert "sacrebleu -t wmt14/full -l de-en --echo src" in message
    (wmt14_folder / "wmt14_full.en-de.ref").unlink()
    assert "sacrebleu -t wmt14/full -l en-de --echo src" in refusal()


@pytest.mark.usefixtures("wmt14_folder")
def test_names_and_languages_are_checked() -> None:
    assert "no test set 'wmt14/ful'; did you mean 'wmt14/full'?" in refusal("wmt14/ful")
    assert "wmt14/full has no en-nl; it has cs-en, de-en" in refusal(target="nl")


def test_several_references_are_refused(wmt14_folder: Path) -> None:
    for letter in "AB":
        (wmt14_folder / f"wmt14_full.en-de.ref-{letter}").write_text("x\n" * 3)
    assert "several references" in refusal()


def test_sentences_beyond_learned_positions_are_refused(wmt14_folder: Path) -> None:
    (wmt14_folder / "wmt14_full.en-de.src").write_text("dog " * 200 + "\nx\nx\n")
    with pytest.raises(UserError, match="tokens, and the model has 24 learned positions"):
        evaluate.main(["--study", "tiny", "--variant", "learned", "--seed", "3", "--testset", "wmt14/full"])


@pytest.mark.usefixtures("wmt14_folder")
def test_an_ensemble_is_not_scored_on_it() -> None:
    with pytest.raises(UserError, match="leave out --ensemble"):
        evaluate.main(["--study", "tiny", "--variant", "base", "--ensemble", "--testset", "wmt14/full"])
