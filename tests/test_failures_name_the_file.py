"""What a part of the user's own raises names its file, line and function first, and shapes that do not fit are shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import command, newest, read_json
from test_adding_is_one_file import fork, write

WORDS = (
    "tools/train_net.py", "DATASETS.TRAIN", "synthetic:64x1x4x4x2", "MODEL.NAME", "softmax", "MODEL.DEVICE", "cpu",
    "SOLVER.MAX_EPOCHS", "1", "NAME", "mine",
)  # fmt: skip

DATASET = """
    from data.dataset import Dataset
    from data.datasets import DATASETS
    class Mine(Dataset):
        name, channels, classes, targets = "mine", 1, ["a", "b"], [0, 1] * 32
        def __getitem__(self, index):
            if index == 13:
                raise RuntimeError("thirteen")
            import torch
            return {"image": torch.zeros(1, 4, 4, dtype=torch.uint8), "target": self.targets[index], "index": index}
    @DATASETS.register("mine")
    def mine(place, root, train, seed):
        return Mine()
"""
TRANSFORM = """
    from data.transforms import TRANSFORMS
    @TRANSFORMS.register("Mine")
    class Mine:
        def __call__(self, sample, rng):
            if sample["index"] > 2:
                raise KeyError("nothing")
            return sample
"""
MODEL = """
    from torch import nn
    from layers import ConvBNReLU
    from modeling.models import MODELS
    class Mine(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(5, 2)
        def forward(self, image):
            return self.head(image.flatten(1))
    @MODELS.register("mine")
    def mine(*, in_channels, num_classes):
        return Mine()
"""
LOSS = """
    from torch import nn
    from torch.nn import functional
    from modeling.losses import LOSSES
    @LOSSES.register("mine")
    class Mine(nn.Module):
        def forward(self, outputs, batch):
            return {"loss": functional.mse_loss(outputs[:, :, None], batch["image"].view(-1, 3))}
"""
EVALUATOR = """
    from engine.evaluators import EVALUATORS
    @EVALUATORS.register("mine")
    class Mine:
        lower_is_better = frozenset()
        def __init__(self, **facts):
            pass
        def reset(self):
            pass
        def update(self, outputs, batch):
            outputs[:, 7]
        def compute(self):
            return {"score": 0.0}
"""
HOOK = """
    from engine.hooks import HOOKS, Hook
    @HOOKS.register("mine")
    class Mine(Hook):
        def __init__(self, run, evaluation):
            pass
        def after_step(self, trainer):
            {}["absent"]
"""

CASES = {
    "dataset": ("data/datasets/mine.py", DATASET, ("DATASETS.TRAIN", "mine"), "8 in __getitem__: RuntimeError: thirteen"),
    "worker": (
        "data/datasets/mine.py", DATASET, ("DATASETS.TRAIN", "mine", "DATALOADER.NUM_WORKERS", "2"),
        "8 in __getitem__: RuntimeError: thirteen",
    ),
    "transform": (
        "data/transforms/mine.py", TRANSFORM, ("INPUT.TRANSFORMS_TRAIN", "[Mine]"), "7 in __call__: KeyError: 'nothing'",
    ),
    "model": ("modeling/models/mine.py", MODEL, ("MODEL.NAME", "mine"), "10 in forward: RuntimeError: mat1 and mat2"),
    "loss": ("modeling/losses/mine.py", LOSS, ("LOSS.NAME", "mine"), "8 in forward: RuntimeError: shape '[-1, 3]'"),
    "evaluator": ("engine/evaluators/mine.py", EVALUATOR, ("TEST.EVALUATOR", "mine"), "11 in update: IndexError: index 7"),
    "hook": ("engine/hooks/mine.py", HOOK, ("HOOKS", "[mine]"), "8 in after_step: KeyError: 'absent'"),
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fork whose parts are broken, each in a file of its own."""
    root = fork(tmp_path_factory.mktemp("broken") / "fork")
    write(root, {file: text for file, text, _, _ in CASES.values()})
    return root


@pytest.mark.slow
@pytest.mark.parametrize("part", CASES)
def test_the_file_that_raised_is_named_first(part: str, root: Path, tmp_path: Path) -> None:
    file, _, words, said = CASES[part]
    done = command(*WORDS, *words, "--output-dir", str(tmp_path / "exp"), cwd=root)
    assert done.returncode == 1, done.stderr
    expected = f"{file}:{said}"
    blamed = done.stderr.index(expected)
    assert blamed < done.stderr.index("Traceback"), done.stderr
    run = newest(tmp_path / "exp")
    status = read_json(run / "status.json")
    assert status["status"] == "failed" and status["reason"].startswith(expected)
    assert expected in (run / "log.txt").read_text() and "Traceback" in (run / "log.txt").read_text()


@pytest.mark.slow
def test_shapes_that_do_not_fit_name_model_loss_and_batch(root: Path, tmp_path: Path) -> None:
    words = ("SOLVER.IMS_PER_BATCH", "16", "--output-dir", str(tmp_path / "exp"))
    error = command(*WORDS, *words, "LOSS.NAME", "mine", cwd=root).stderr
    assert "model  softmax (Sequential): image 16x1x4x4 float32 -> 16x2 float32" in error
    assert "loss   mine (Mine)" in error and "batch  image 16x1x4x4 float32, target 16 int64, index 16 int64" in error
    error = command(*WORDS, *words, "MODEL.NAME", "mine", cwd=root).stderr
    assert "model  mine (Mine): image 16x1x4x4 float32 -> it failed on the way" in error
    assert "loss   cross_entropy (CrossEntropy)" in error


@pytest.mark.slow
def test_testing_and_building_name_the_file_too(root: Path, tmp_path: Path) -> None:
    exp = ("--output-dir", str(tmp_path / "exp"))
    assert command(*WORDS, *exp, cwd=root).returncode == 0
    tested = command("tools/test_net.py", "last", *exp, "TEST.EVALUATOR", "mine", cwd=root)
    assert tested.returncode == 1 and tested.stderr.startswith("error: engine/evaluators/mine.py:11 in update"), tested.stderr
    (root / "modeling" / "models" / "typo.py").write_text("def broken(:\n")
    try:
        built = command(*WORDS, *exp, "MODEL.NAME", "mine", cwd=root)
    finally:
        (root / "modeling" / "models" / "typo.py").unlink()
    assert built.returncode == 1 and built.stderr.startswith("error: modeling/models/typo.py:1 in import: SyntaxError")


def test_installed_packages_are_never_blamed() -> None:
    import torch

    from engine.blame import blame

    with pytest.raises(RuntimeError) as caught:
        torch.nn.Linear(2, 2)(torch.zeros(1, 3))
    assert blame(caught.value).startswith("tests/test_failures_name_the_file.py"), blame(caught.value)


def test_plumbing_is_blamed_only_where_nothing_else_is() -> None:
    from data.loaders.plan import TrainingPlan
    from engine.blame import blame

    with pytest.raises(TypeError) as caught:
        TrainingPlan(None, 3, 2).batches(0, 0)  # type: ignore[arg-type]
    assert blame(caught.value).startswith("tests/test_failures_name_the_file.py")
    assert blame(ValueError("a\nb")) == "ValueError: a b"
