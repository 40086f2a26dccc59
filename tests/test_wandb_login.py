"""Whether runs go online: the requested mode, the environment's variables, and where a login is looked for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.tracking import login as wandb_login
from lit_transformer.errors import UserError
from tests.wandb_server import no_account

KEY = "a" * 40


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Start logged out."""
    with no_account(monkeypatch, tmp_path):
        yield


@pytest.mark.parametrize(
    ("requested", "environment", "mode"),
    [
        ("auto", {}, "offline"),
        ("auto", {"WANDB_API_KEY": KEY}, "online"),
        ("auto", {"WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}, "offline"),
        ("auto", {"WANDB_MODE": "disabled"}, "disabled"),
        ("auto", {"WANDB_MODE": "dryrun"}, "offline"),
        ("offline", {"WANDB_API_KEY": KEY, "WANDB_MODE": "online"}, "offline"),
        ("disabled", {"WANDB_API_KEY": KEY}, "disabled"),
        ("online", {"WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}, "online"),
    ],
)
def test_modes(requested: str, environment: dict[str, str], mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert wandb_login.wandb_mode(requested) == mode


def test_a_netrc_is_a_login_for_its_server_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {KEY}\n")
    assert wandb_login.wandb_mode("auto") == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert wandb_login.wandb_mode("auto") == "offline"


def test_a_login_at_another_host_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text(f"machine wandb.example.org\n  login user\n  password {KEY}\n")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    assert wandb_login.wandb_mode("auto") == "offline"
    (tmp_path / "settings").write_text("[default]\nbase_url = https://wandb.example.org\n")
    assert wandb_login.wandb_mode("auto") == "online"
    (tmp_path / "settings").write_text("nothing that a parser takes")
    assert wandb_login.wandb_mode("auto") == "offline"


def test_online_without_a_login_never_asks(capsys: pytest.CaptureFixture[str]) -> None:
    assert wandb_login.wandb_mode("online") == "offline"
    assert capsys.readouterr().err.count("\n") == 1


def test_a_wrong_mode_is_said_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="did you mean 'offline'"):
        wandb_login.wandb_mode("ofline")
    monkeypatch.setenv("WANDB_MODE", "onlin")
    with pytest.raises(UserError, match=r"^WANDB_MODE=onlin: .*'online'"):
        wandb_login.wandb_mode("auto")
