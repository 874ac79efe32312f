"""Nothing in a record opens a door: no password, no token, no key; and nobody but its owner's group writes it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex

import pytest
from conftest import ROOT, TINY, command, newest

import config
from tracking import snapshot
from utils.errors import UserError
from utils.redact import redact, redact_command

Train = Callable[..., tuple[int, str, str]]
# Drawn anew, for this very file is among the copied code.
NAMES = ("AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "HF_TOKEN", "GITHUB_TOKEN", "DB_PASSWORD")
PLANTED = {name: token_hex(16) for name in NAMES}
PASSWORD = token_hex(6)


def assert_clean(folder: Path) -> None:
    """No file below `folder` holds a planted secret."""
    for file in folder.rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        for secret in [*PLANTED.values(), PASSWORD]:
            assert secret.encode() not in content, (file, secret)


@pytest.mark.slow
def test_a_record_holds_no_secret_and_is_not_world_writable(tmp_path: Path) -> None:
    words = ["--why", f"with {PLANTED['HF_TOKEN']} from https://me:{PASSWORD}@host/x", "--tag", "plain"]
    words += ["--expect", f"better than {PLANTED['WANDB_API_KEY']}"]
    script = (
        "import os, sys; os.umask(0); sys.argv[0] = 'tools/train_net.py'; sys.path.insert(0, 'tools'); import runpy; "
        "runpy.run_path('tools/train_net.py', run_name='__main__')"
    )
    run_words = [*TINY, "SOLVER.MAX_EPOCHS", "1", *words, "--output-dir", str(tmp_path / "exp")]
    done = command("-c", script, *run_words, cwd=ROOT, **PLANTED)
    assert done.returncode == 0, done.stderr
    run = newest(tmp_path / "exp")
    assert "https://***@host/x" in (run / "run.json").read_text() and "with *** from" in (run / "notes.md").read_text()
    assert_clean(run)
    for path in (run, *run.rglob("*")):
        assert path.is_symlink() or not path.stat().st_mode & stat.S_IWOTH, path
    names = (run / "env.txt").read_text()
    assert not any(name in names for name in (*PLANTED, "PATH", "HOME"))


def test_errors_that_quote_a_secret_are_blotted_out(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import engine.ending

    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)

    def broken(*_: object, **__: object) -> None:
        raise ValueError(f"401 for {PLANTED['HF_TOKEN']} at https://bot:{PASSWORD}@hub/x")

    monkeypatch.setattr(engine.ending, "judge", broken)
    code, log, _ = train(*TINY, "SOLVER.MAX_EPOCHS", "1")
    assert code == 1 and "401 for ***" in log
    assert "401 for ***" in (newest(tmp_path / "exp") / "status.json").read_text()
    assert_clean(tmp_path / "exp")


VALUES = {"password": f"https://me:{PASSWORD}@host/w.pt", "user": "https://ghp_zyxwvu@host/w.pt", "token": PLANTED["HF_TOKEN"]}


@pytest.mark.parametrize("kind", VALUES)
def test_a_config_with_a_secret_is_refused(kind: str, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", PLANTED["HF_TOKEN"])
    value = VALUES[kind]
    for words in (["MODEL.WEIGHTS", value], ["DATASETS.TRAIN", f"[digits, 'csv:{value}']"]):
        code, error, _ = train(*TINY, *words)
        assert code == 2 and "holds a password or a token" in error and value not in error
    assert not (tmp_path / "exp").exists()
    with pytest.raises(UserError, match="password or a token"):
        config.load_file(None, [("SOLVER.OPTIMIZER_ARGS", f"{{key: ['{value}']}}")])


def test_what_is_no_secret_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false-or-true")
    monkeypatch.setenv("SHORT_TOKEN", "true")
    for text in ("false-or-true is true", "http://host/a@b", "see https://host:8080/x", "s3://bucket/key", "me@host", "a:b@c"):
        assert redact(text) == text
    assert redact_command(["--hub-token", "abc", "x"]) == ["--hub-token", "***", "x"]


def test_copied_code_leaves_secrets_out_whatever_their_case(tmp_path: Path) -> None:
    names = [
        ".env",
        ".ENV",
        ".env.local",
        "Server.PEM",
        "deploy.key",
        "secrets.yml",
        "kaggle.json",
        "hub.token",
        ".netrc",
        "my_Credentials.json",
    ]
    for name in (*names, "model.py"):
        (tmp_path / name).write_text("x")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text(f"[remote] url = https://me:{PASSWORD}@host/x")
    os.symlink("/etc/hostname", tmp_path / "link.txt")
    taken = snapshot.take(tmp_path, tmp_path.parent / "copy")
    assert set(taken.files) == {"model.py"} and set(names) <= set(taken.skipped), taken
    assert_clean(tmp_path.parent / "copy")
