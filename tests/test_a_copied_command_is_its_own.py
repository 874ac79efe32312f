"""Who copies tools/train_net.py for a loop of their own has a command that the record names, reruns and defends."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import command, newest, read_json
from test_adding_is_one_file import fork, write

TRAINER = {
    "engine/mine.py": """
        from engine.trainer import Trainer
        class MyTrainer(Trainer):
            def compute_losses(self, batch):
                outputs, losses = self.wrapped(batch)
                return {**losses, "mine": outputs.mean().detach()}
    """
}  # fmt: skip
BUILT = "trainer = build_trainer(cfg, task, splits, device)"
OWN = f"from engine.mine import MyTrainer; {BUILT[:-1]}, MyTrainer)"


@pytest.mark.slow
def test_a_copy_of_train_net_with_a_trainer_of_ones_own(tmp_path: Path) -> None:
    root = fork(tmp_path / "fork")
    text = (root / "tools" / "train_net.py").read_text()
    assert BUILT in text  # docs/howto/own-loop.md says so too
    write(root, TRAINER)
    (root / "tools" / "train_mine.py").write_text(text.replace(BUILT, OWN))
    words = ("DATASETS.TRAIN", "synthetic:64x1x4x4x2", "MODEL.NAME", "softmax", "NAME", "mine", "SOLVER.LOG_PERIOD", "1")
    done = command("tools/train_mine.py", *words, "--epochs", "1", cwd=root)
    assert done.returncode == 0, done.stderr
    run = newest(root / "exp")
    assert read_json(run / "run.json")["command"][0] == "tools/train_mine.py"
    assert '"train/mine"' in (run / "metrics.jsonl").read_text()
    refused = command("tools/train_net.py", "--resume", "mine", "--epochs", "2", cwd=root)
    assert refused.returncode == 2 and "tools/train_mine.py" in refused.stderr
    restored = command("tools/exp.py", "restore", "mine", str(tmp_path / "again"), cwd=root)
    assert "tools/train_mine.py" in restored.stdout
    rerun = command("tools/exp.py", "rerun", "mine", cwd=root)
    assert rerun.returncode == 0, rerun.stderr
    assert read_json(newest(root / "exp") / "run.json")["command"][0] == "tools/train_mine.py"
