"""A new data set, model, loss, transform, schedule, evaluator, hook: one file from outside plus a YAML line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from conftest import command, newest, read_json
from test_record_is_complete import Train

PARTS = {
    "data/datasets/outside_data.py": """
        import torch
        from data.dataset import ArrayDataset
        from data.datasets import DATASETS
        @DATASETS.register("outside_data")
        def outside_data(place, root, train, seed):
            targets = torch.arange(64) % 2
            images = (targets[:, None, None, None] * 200).expand(64, 1, 4, 4).to(torch.uint8)
            return ArrayDataset("outside_data", images, targets, ["a", "b"])
    """,
    "modeling/models/outside_model.py": """
        from torch import nn
        from modeling.models import MODELS
        @MODELS.register("outside_model")
        def outside_model(*, in_channels, num_classes):
            return nn.Sequential(nn.Flatten(), nn.Linear(16, num_classes))
    """,
    "modeling/losses/outside_loss.py": """
        from torch import nn
        from torch.nn import functional
        from modeling.losses import LOSSES
        @LOSSES.register("outside_loss")
        class MyLoss(nn.Module):
            def forward(self, outputs, batch):
                loss = functional.cross_entropy(outputs, batch["target"])
                return {"loss": loss, "twice": 2 * loss}
    """,
    "data/transforms/outside_transform.py": """
        from data.transforms import TRANSFORMS
        @TRANSFORMS.register("MyTransform")
        class MyTransform:
            def __init__(self, amount=1):
                self.amount = amount
            def __call__(self, sample, rng):
                return {**sample, "image": sample["image"] // self.amount}
    """,
    "solver/schedules/outside_schedule.py": """
        from solver.schedules import SCHEDULES
        @SCHEDULES.register("outside_schedule")
        def outside_schedule(total_steps):
            return lambda step: 1 - step / total_steps
    """,
    "engine/evaluators/outside_evaluator.py": """
        from engine.evaluators import EVALUATORS
        @EVALUATORS.register("outside_evaluator")
        class MyEvaluator:
            lower_is_better = frozenset({"loss"})
            def __init__(self, **facts):
                self.reset()
            def reset(self):
                self.right = self.seen = 0
            def update(self, outputs, batch):
                self.right += int((outputs.argmax(1) == batch["target"]).sum())
                self.seen += len(batch["target"])
            def compute(self):
                return {"outside_score": self.right / max(self.seen, 1)}
    """,
    "engine/hooks/outside_hook.py": """
        from engine.hooks import HOOKS, Hook
        @HOOKS.register("outside_hook")
        class MyHook(Hook):
            def __init__(self, run, evaluation):
                self.run = run
            def after_train(self, trainer):
                (self.run.path / "outside_hook.txt").write_text(str(trainer.step))
    """,
}  # fmt: skip
RECIPE = """
    DATASETS: {TRAIN: outside_data}
    MODEL: {NAME: outside_model, DEVICE: cpu}
    LOSS: {NAME: outside_loss}
    INPUT: {TRANSFORMS_TRAIN: [{MyTransform: {amount: 2}}]}
    SOLVER: {SCHEDULE: outside_schedule, MAX_EPOCHS: 8, BASE_LR: 0.5, IMS_PER_BATCH: 16, LOG_PERIOD: 1}
    TEST: {EVALUATOR: outside_evaluator}
    HOOKS: [outside_hook]
"""


def write(root: Path, parts: dict[str, str]) -> None:
    """Files with the indentation of their text taken off."""
    import textwrap

    for name, text in parts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(textwrap.dedent(text))


def fork(destination: Path) -> Path:
    """A copy of the code, as a user's fork."""
    from tracking import snapshot

    root = Path(__file__).resolve().parent.parent
    snapshot.take(root, destination, root / "exp")
    return destination


def test_each_part_is_one_file_and_a_yaml_line(tmp_path: Path) -> None:
    root = fork(tmp_path / "fork")
    write(root, {**PARTS, "configs/mine.yml": RECIPE})
    done = command("tools/train_net.py", "--config-file", "configs/mine.yml", "--output-dir", str(tmp_path / "exp"), cwd=root)
    assert done.returncode == 0, done.stderr
    run = newest(tmp_path / "exp")
    assert (run / "outside_hook.txt").read_text() == "32"
    assert read_json(run / "test.json")["metrics"]["test/outside_score"] == 1.0
    text = (run / "metrics.jsonl").read_text()
    assert '"train/twice"' in text and '"val/outside_score"' in text


def test_copied_code_runs_by_itself(train: Train, tmp_path: Path) -> None:
    """It trains and tests from another folder, after the working tree it came from broke and went away."""
    import shutil

    root = fork(tmp_path / "fork")
    write(root, {"modeling/models/mine.py": PARTS["modeling/models/outside_model.py"]})
    first = command(
        "tools/train_net.py", "DATASETS.TRAIN", "synthetic:64x1x4x4x2", "MODEL.NAME", "outside_model", "--epochs", "1",
        "--output-dir", str(tmp_path / "exp"), cwd=root,
    )  # fmt: skip
    assert first.returncode == 0, first.stderr
    run = newest(tmp_path / "exp")
    shutil.rmtree(root)
    elsewhere = tmp_path / "elsewhere"
    shutil.move(tmp_path / "exp", elsewhere)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "__init__.py").write_text("raise RuntimeError('a room of somebody else')")
    script = elsewhere / run.name / "scripts" / "tools"
    again = command(
        str(script / "train_net.py"), "--config-file", str(elsewhere / run.name / "config.yml"), "--output-dir",
        str(tmp_path / "exp2"), cwd=tmp_path, PYTHONPATH=str(tmp_path),
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert read_json(newest(tmp_path / "exp2") / "test.json") == read_json(elsewhere / run.name / "test.json")
    tested = command(str(script / "test_net.py"), str(elsewhere / run.name), "--json", cwd=tmp_path)
    assert tested.returncode == 0, tested.stderr


def test_resume_with_the_run_s_own_code(train: Train, tmp_path: Path) -> None:
    root = fork(tmp_path / "fork")
    words = ("DATASETS.TRAIN", "synthetic:64x1x4x4x2", "MODEL.NAME", "softmax", "NAME", "own")
    first = command("tools/train_net.py", *words, "--epochs", "1", cwd=root)
    assert first.returncode == 0, first.stderr
    (root / "modeling" / "build.py").write_text("broken(")
    again = command("tools/train_net.py", "--resume", "own", "--code", "run", "--epochs", "2", cwd=root)
    assert again.returncode == 0 and "not the code" not in again.stderr, again.stderr
    assert read_json(newest(root / "exp") / "status.json")["progress"]["epoch"] == 2
    with open(newest(root / "exp") / "scripts" / "modeling" / "build.py", "a") as copied:
        copied.write("# edited\n")
    edited = command("tools/train_net.py", "--resume", "own", "--code", "run", "--epochs", "3", cwd=root)
    said = "WARNING scripts/ is not the code that the run began with: 1 changed (modeling/build.py)"
    assert edited.returncode == 0 and said in edited.stderr, edited.stderr


SEGMENTATION = {
    "data/datasets/squares.py": """
        import torch
        from data.dataset import Dataset
        from data.datasets import DATASETS
        class Squares(Dataset):
            name, channels, mean, std = "squares", 1, [0.5], [0.25]
            classes, targets = ["off", "on"], [0] * 48
            def __getitem__(self, index):
                mask = torch.zeros(12, 12, dtype=torch.int64)
                mask[index % 5 : index % 5 + 5, index % 7 : index % 7 + 4] = 1
                return {"image": (mask * 150 + 40).to(torch.uint8)[None], "mask": mask, "target": 0, "index": index}
        @DATASETS.register("squares")
        def squares(place, root, train, seed):
            return Squares()
    """,
    "modeling/models/pixelwise.py": """
        from torch import nn
        from modeling.models import MODELS
        @MODELS.register("pixelwise")
        def pixelwise(*, in_channels, num_classes):
            return nn.Conv2d(in_channels, num_classes, 3, padding=1)
    """,
    "modeling/losses/pixel_loss.py": """
        from torch import nn
        from torch.nn import functional
        from modeling.losses import LOSSES
        @LOSSES.register("pixel_loss")
        class PixelLoss(nn.Module):
            def forward(self, outputs, batch):
                return {"loss_pixel": functional.cross_entropy(outputs, batch["mask"])}
    """,
    "engine/evaluators/iou.py": """
        from engine.evaluators import EVALUATORS
        @EVALUATORS.register("iou")
        class IoU:
            lower_is_better = frozenset({"loss"})
            def __init__(self, **facts):
                self.reset()
            def reset(self):
                self.both = self.any = 0
            def update(self, outputs, batch):
                on, true = outputs.argmax(1) == 1, batch["mask"] == 1
                self.both += int((on & true).sum())
                self.any += int((on | true).sum())
            def compute(self):
                return {"iou": self.both / max(self.any, 1)}
    """,
    "configs/squares.yml": """
        DATASETS: {TRAIN: squares}
        MODEL: {NAME: pixelwise, DEVICE: cpu}
        LOSS: {NAME: pixel_loss}
        INPUT: {TRANSFORMS_TRAIN: [RandomHorizontalFlip]}
        SOLVER: {MAX_EPOCHS: 20, BASE_LR: 0.5, IMS_PER_BATCH: 8, LOG_PERIOD: 4}
        TEST: {EVALUATOR: iou}
    """,
}  # fmt: skip


def test_segmentation_fits_without_touching_the_engine(tmp_path: Path) -> None:
    root = fork(tmp_path / "fork")
    write(root, SEGMENTATION)
    done = command("tools/train_net.py", "--config-file", "configs/squares.yml", cwd=root)
    assert done.returncode == 0, done.stderr
    run = newest(root / "exp")
    assert read_json(run / "test.json")["metrics"]["test/iou"] > 0.9
    status = read_json(run / "status.json")  # the least loss is the best, also of a part
    assert {"val/loss_pixel", "test/loss_pixel"} <= set(status["lower_is_better"])
    assert status["metrics"]["val/loss_pixel"]["best"] <= status["metrics"]["val/loss_pixel"]["last"]
    assert '"train/loss_pixel"' in (run / "metrics.jsonl").read_text()


def test_a_numeric_table_is_a_regression(train: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    rows = [f"{x / 50},{1 - x / 50},{3 * x / 50 + 1}" for x in range(100)]
    (tmp_path / "table.csv").write_text("\n".join(["a,b,y", *rows]))
    code, log, _ = train(
        "DATASETS.TRAIN", f"csv:{tmp_path / 'table.csv'}", "MODEL.NAME", "softmax", "LOSS.NAME", "mse", "TEST.EVALUATOR",
        "regression", "SOLVER.BASE_LR", "0.1", "SOLVER.IMS_PER_BATCH", "16", "SOLVER.MAX_EPOCHS", "40", "NAME", "table",
    )  # fmt: skip
    assert code == 0, log
    metrics = read_json(newest(tmp_path / "exp") / "test.json")["metrics"]
    assert metrics["test/r2"] > 0.95 and metrics["test/mae"] < 0.2
