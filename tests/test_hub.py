"""Hugging Face data sets, from a local one in the same format; nothing here needs a network."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict, Features, Translation, Value, load_dataset

from data_modules.config import DataConfig
from data_modules.corpora import hub, load_corpus
from data_modules.prepared import PreparedCorpus, prepare
from lit_transformer.errors import UserError
from tests.hub_server import serve

CONFIG = DataConfig(source="de", target="en")
SIZES = {"train": 6, "validation": 2, "test": 3}


def rows(split: str, language: str) -> list[str]:
    return [f"{split} {language} {i}" for i in range(SIZES[split])]


def translation_set(**changed: list[str | None]) -> DatasetDict:
    features = Features({"id": Value("string"), "translation": Translation(languages=["de", "en"])})
    parts = {}
    for split in SIZES:
        sides = zip(changed.get(f"{split}_de", rows(split, "de")), rows(split, "en"), strict=True)
        pairs = [{"de": source, "en": target} for source, target in sides]
        parts[split] = Dataset.from_dict({"id": ["x"] * len(pairs), "translation": pairs}, features=features)
    return DatasetDict(parts)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    translation_set().save_to_disk(str(tmp_path / "set"))
    return tmp_path / "set"


def refusal(name: str, config: DataConfig = CONFIG) -> str:
    with pytest.raises(UserError) as caught:
        load_corpus(name, config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_translation_feature_from_disk(folder: Path) -> None:
    corpus = load_corpus(f"hub:{folder}", CONFIG)
    assert list(corpus.splits) == ["train", "valid", "test"]
    assert corpus.splits["valid"].source == rows("validation", "de")
    assert corpus.splits["test"].target == rows("test", "en")
    assert load_corpus(f"hub:{folder}", DataConfig()).splits["test"].target == rows("test", "de")


def test_a_column_a_language_and_rows_in_another_order(tmp_path: Path) -> None:
    columns = DatasetDict(
        {split: Dataset.from_dict({key: rows(split, key) for key in ("de", "en")}) for split in SIZES}
    )
    columns["test"] = columns["test"].select([2, 0])
    assert hub._sides(columns["test"], "x", "de", "en")[0] == ["test de 2", "test de 0"]
    columns.save_to_disk(str(tmp_path / "set"))
    corpus = load_corpus(f"hub:{tmp_path / 'set'}", CONFIG)
    assert corpus.splits["test"].source == ["test de 2", "test de 0"]
    assert corpus.splits["test"].target == ["test en 2", "test en 0"]


def test_the_layout_of_a_parquet_conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders CONFIG/SPLIT/0000.parquet, as in the branch that `iwslt2017` is read from."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    for split, part in translation_set().items():
        path = tmp_path / "conversion" / "iwslt2017-de-en" / str(split) / "0000.parquet"
        path.parent.mkdir(parents=True)
        part.to_parquet(str(path))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    arguments = hub._repository("iwslt2017", "", "de", "en", {})
    assert arguments.pop("revision") == "refs/convert/parquet"
    data = load_dataset(**arguments | {"path": str(tmp_path / "conversion")}, cache_dir=str(tmp_path / "cache"))
    assert {str(split): len(part) for split, part in data.items()} == SIZES
    assert hub._sides(data["train"], "x", "de", "en") == (rows("train", "de"), rows("train", "en"))


@pytest.mark.parametrize(
    ("name", "languages", "arguments"),
    [
        ("multi30k", ("de", "en"), {"path": "bentrevett/multi30k"}),
        (
            "iwslt2017",
            ("de", "en"),
            {"path": "IWSLT/iwslt2017", "revision": "refs/convert/parquet", "data_dir": "iwslt2017-de-en"},
        ),
        (
            "iwslt14",
            ("en", "de"),
            {"path": "bbaaaa/iwslt14-de-en", "revision": "refs/convert/parquet", "data_dir": "de-en"},
        ),
        ("wmt14", ("en", "de"), {"path": "wmt/wmt14", "name": "de-en"}),
        ("wmt14", ("fr", "en"), {"path": "wmt/wmt14", "name": "fr-en"}),
        ("some/set:de-en", ("en", "de"), {"path": "some/set", "name": "de-en"}),
        ("some/set", ("en", "de"), {"path": "some/set", "name": "books-de-en"}),
    ],
)
def test_what_is_asked_of_the_hub(
    name: str, languages: tuple[str, str], arguments: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []

    def load(**arguments: Any) -> DatasetDict:
        seen.append(arguments)
        return translation_set()

    monkeypatch.setattr(hub, "_hub_resolves", lambda: True)
    monkeypatch.setattr("datasets.load_dataset", load)
    monkeypatch.setattr("datasets.get_dataset_config_names", lambda path: ["books-de-en", "books-de-fr"])
    hub._load(name, *languages)
    assert seen == [arguments]


SHA = "0123456789abcdef0123456789abcdef01234567"


def downloaded(commit: str = SHA) -> DatasetDict:
    """Return a data set that knows its files on the hub, as one that `load_dataset` has downloaded does."""
    data = translation_set()
    for split, part in data.items():
        source = f"hf://datasets/some/set@{commit}/data/{split}-00000-of-00001.parquet"
        part.info.download_checksums = {source: {"num_bytes": 1, "checksum": None}}
    return data


def test_the_commit_of_a_data_set_is_kept_with_the_prepared_corpus(tmp_path: Path) -> None:
    downloaded().save_to_disk(str(tmp_path / "set"))
    config = DataConfig(source="de", target="en", vocab_size=270)
    corpus = prepare(load_corpus(f"hub:{tmp_path / 'set'}", config), config, tmp_path / "prepared")
    assert corpus.revision == SHA
    assert f"  revision {SHA}" in corpus.report()
    assert PreparedCorpus.open(tmp_path / "prepared").revision == SHA
    text = (tmp_path / "prepared/corpus.json").read_text()
    assert '"name": "hub:set"' in text
    assert str(tmp_path) not in text


@pytest.mark.slow
def test_the_client_s_download_and_its_cache_know_the_commit(tmp_path: Path) -> None:
    """By the client itself, from a hub on loopback, then without one."""
    pairs = {
        split: [{language: rows(split, language)[i] for language in ("de", "en")} for i in (0, 1)] for split in SIZES
    }
    files = {f"{split}.jsonl": "\n".join(map(json.dumps, lines)).encode() for split, lines in pairs.items()}
    server = serve("bentrevett/multi30k", SHA, files)
    code = """if True:
        from data_modules.corpora.hub import load_hub
        corpus = load_hub("multi30k", "de", "en")
        print(corpus.revision, corpus.splits["test"].target)
    """
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "HF_HOME": str(tmp_path),
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "NO_PROXY": "127.0.0.1",
    }
    for offline in ("0", "1"):
        environment["HF_HUB_OFFLINE"] = offline
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == f"{SHA} ['test en 0', 'test en 1']"
        server.shutdown()


def test_a_folder_is_of_the_revision_that_is_requested(folder: Path, tmp_path: Path) -> None:
    downloaded().save_to_disk(str(tmp_path / "known"))
    known, config = f"hub:{tmp_path / 'known'}", DataConfig(source="de", target="en", revision=SHA)
    assert load_corpus(known, config).revision == SHA
    assert load_corpus(f"hub:{folder}", CONFIG).revision == ""
    assert f"{folder} is a folder of no known revision, not of data.revision {SHA}" in refusal(f"hub:{folder}", config)
    other = DataConfig(source="de", target="en", revision="main")
    assert f"is a folder of {SHA}, not of data.revision main" in refusal(known, other)


def test_a_revision_is_of_the_hub_alone(tmp_path: Path) -> None:
    config = DataConfig(source="de", target="en", revision="main")
    for name in ("grammar", str(tmp_path)):
        assert "is no data set of the hub; leave it out" in refusal(name, config)


@pytest.mark.parametrize(("name", "extra"), [("wmt14", {"name": "de-en"}), ("iwslt14", {"data_dir": "de-en"})])
def test_a_revision_is_requested_and_the_commit_behind_it_recorded(
    name: str, extra: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For `iwslt14` it stands in place of the branch that is read by default."""
    seen: list[dict[str, Any]] = []

    def load(**arguments: Any) -> DatasetDict:
        seen.append(arguments)
        return downloaded()

    monkeypatch.setattr(hub, "_hub_resolves", lambda: True)
    monkeypatch.setattr("datasets.load_dataset", load)
    corpus = hub.load_hub(name, "de", "en", "v1")
    (arguments,) = seen
    assert arguments.items() >= {"revision": "v1", **extra}.items()
    assert corpus.revision == SHA
    notes = " ".join(corpus.notes)
    assert ("not the split of fairseq" in notes) == (name == "iwslt14")


def test_several_configurations_that_fit_are_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_hub_resolves", lambda: True)
    monkeypatch.setattr("datasets.get_dataset_config_names", lambda path: ["a-de-en", "b-de-en", "c-fr-en"])
    message = refusal("hub:some/set")
    assert "a-de-en, b-de-en" in message
    assert "hub:some/set:NAME" in message


def test_without_a_network_files_are_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(**arguments: Any) -> None:
        raise ConnectionError("Couldn't reach 'bentrevett/multi30k' on the Hub\nmore")

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.load_dataset", unreachable)
    message = refusal("hub:multi30k")
    assert "no network" in message
    assert "LIT_CORPORA" in message


def test_a_hub_without_an_address_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_address(*arguments: Any) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", no_address)
    monkeypatch.setattr(hub, "getproxies", dict)
    assert not hub._hub_resolves()
    monkeypatch.setattr(hub, "getproxies", lambda: {"https": "http://proxy"})
    assert hub._hub_resolves()


def test_a_data_set_that_does_not_load_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**arguments: Any) -> None:
        raise ValueError("Unknown split\nwith details")

    monkeypatch.setattr(hub, "_hub_resolves", lambda: True)
    monkeypatch.setattr("datasets.load_dataset", broken)
    message = refusal("hub:wmt14")
    assert "hub:wmt14 cannot be loaded (Unknown split)" in message


def test_missing_languages_are_named(folder: Path) -> None:
    message = refusal(f"hub:{folder}", DataConfig(source="fr", target="en"))
    assert "no text in both 'fr' and 'en'" in message
    assert "translation holds de, en" in message


def test_empty_and_missing_sentences(tmp_path: Path) -> None:
    train: list[str | None] = ["a ", None, "", "d", "e", "f"]
    translation_set(train_de=train).save_to_disk(str(tmp_path / "train"))
    corpus = load_corpus(f"hub:{tmp_path / 'train'}", CONFIG)
    assert corpus.splits["train"].source == ["a", "", "", "d", "e", "f"]
    assert corpus.notes == ["train.de: leading or trailing spaces removed from 1 of 6 lines"]
    translation_set(test_de=["a", None, "c"]).save_to_disk(str(tmp_path / "test"))
    assert "test.de:2 is empty" in refusal(f"hub:{tmp_path / 'test'}")


def test_a_data_set_without_validation(tmp_path: Path) -> None:
    data = translation_set()
    del data["validation"]
    data.save_to_disk(str(tmp_path / "set"))
    assert "has no split 'valid'" in refusal(f"hub:{tmp_path / 'set'}")
    data["train"].save_to_disk(str(tmp_path / "single"))
    assert "holds one split only" in refusal(f"hub:{tmp_path / 'single'}")


def test_datasets_is_imported_late() -> None:
    code = "import sys, data_modules.corpora.hub, data_modules.prepared; assert 'datasets' not in sys.modules"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
