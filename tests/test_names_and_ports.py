"""A run is written where runs are written, whatever it is called; a run alone listens on no port."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TINY, command
from test_adding_is_one_file import fork, write

Train = Callable[..., tuple[int, str, str]]


def tree(folder: Path) -> set[tuple[str, int]]:
    """All that lies below a folder, with sizes."""
    return {(str(p), p.lstat().st_size) for p in folder.rglob("*")}


@pytest.mark.parametrize(
    "name", ["../x", "/abs", ".", "..", "a\0b", "a\nb", "n" * 300, "-rf", "a/b", "a b", "~", "é", "\udc80"]
)
@pytest.mark.parametrize("how", ["--name", "NAME", "file"])
def test_a_name_that_is_no_name_writes_nothing(name: str, how: str, train: Train, tmp_path: Path) -> None:
    words = [how, name]
    if how == "file":
        if "\udc80" in name:
            pytest.skip("no such text in a UTF-8 file")
        escaped = name.replace("\0", "\\0").replace("\n", "\\n")
        (tmp_path / "x.yml").write_text(f'NAME: "{escaped}"\n', encoding="utf-8")
        words = ["--config-file", str(tmp_path / "x.yml")]
    before = tree(tmp_path)
    tiny = [word for word in TINY if word not in ("NAME", "tiny")]
    code, error, _ = train(*tiny, *words)
    assert code == 2 and error.count("\n") == 1 and "Traceback" not in error, error
    assert tree(tmp_path) == before


def test_an_empty_name_is_that_of_the_recipe(train: Train, tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("SEED: 1\n")
    tiny = [word for word in TINY if word not in ("NAME", "tiny")]
    assert train(*tiny, "SOLVER.MAX_EPOCHS", "1", "--name", "", "--config-file", str(tmp_path / "mine.yml"))[0] == 0
    assert [path.name[:5] for path in (tmp_path / "exp").iterdir() if path.name[0] != "."] == ["mine_"]


@pytest.mark.parametrize("flag", ["--resume", "--parent", "--config-file"])
def test_an_empty_word_is_not_taken_for_none(flag: str, train: Train, tmp_path: Path) -> None:
    code, error, _ = train(*TINY, flag, "")
    assert code == 2 and "without a value" in error and not (tmp_path / "exp").exists()


@pytest.mark.parametrize("text", ["a\0b", '"a\\nb"'])
def test_a_path_with_control_characters_is_one_line(text: str, train: Train, tmp_path: Path) -> None:
    for key in ("OUTPUT_DIR", "DATASETS.ROOT", "MODEL.WEIGHTS"):
        code, error, _ = train(*TINY, key, text)
        assert code == 2 and "control character" in error, error
    assert not (tmp_path / "exp").exists()


def test_a_link_out_of_the_folder_of_runs_is_not_resumed(train: Train, tmp_path: Path) -> None:
    assert train(*TINY, "SOLVER.MAX_EPOCHS", "1")[0] == 0
    (run,) = [path for path in (tmp_path / "exp").iterdir() if path.name[0] != "."]
    run.rename(tmp_path / run.name)
    os.symlink(tmp_path / run.name, tmp_path / "exp" / "link")
    before = tree(tmp_path / run.name)
    code, error, _ = train("--resume", "link", "--epochs", "2")
    assert code == 2 and "a link out of" in error and tree(tmp_path / run.name) == before


def test_a_run_does_not_follow_a_link_that_bears_its_name(train: Train, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "exp").mkdir()
    os.symlink(tmp_path / "outside", tmp_path / "exp" / "tiny")
    assert train(*TINY, "SOLVER.MAX_EPOCHS", "1")[0] == 0
    assert not tree(tmp_path / "outside")


LISTENERS = """
    import os
    from engine.hooks import HOOKS, Hook
    @HOOKS.register("listeners")
    class Listeners(Hook):
        def __init__(self, run, evaluation):
            pass
        def after_epoch(self, trainer):
            own = set()
            for entry in os.listdir("/proc/self/fd"):
                try:
                    own.add(os.readlink(f"/proc/self/fd/{entry}"))
                except OSError:
                    pass
            for table in ("tcp", "tcp6", "udp", "udp6"):
                for line in open(f"/proc/net/{table}").readlines()[1:]:
                    fields = line.split()
                    open_one = fields[3] == "0A" or table.startswith("udp")
                    assert not (open_one and f"socket:[{fields[9]}]" in own), line
            print("checked: no port")
"""


@pytest.mark.slow
def test_a_run_alone_listens_on_no_port(tmp_path: Path) -> None:
    root = fork(tmp_path / "fork")
    write(root, {"engine/hooks/listeners.py": LISTENERS})
    words = ["HOOKS", "[listeners]", "DATALOADER.LOADER", "processes", "DATALOADER.NUM_WORKERS", "2", "SOLVER.MAX_EPOCHS", "1"]
    done = command("tools/train_net.py", *TINY, *words, "--output-dir", str(tmp_path / "exp"), cwd=root)
    assert done.returncode == 0 and "checked: no port" in done.stdout, done.stderr
