"""Counted scores agree with torchmetrics; the readings of analyze.py are right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from conftest import ROOT, command, newest, read_json
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torchmetrics.functional import accuracy, f1_score, mean_absolute_error, r2_score

from engine.evaluators.classification import ClassificationEvaluator, behind, highest
from engine.evaluators.regression import RegressionEvaluator
from engine.features import Features
from engine.inference import evaluate
from engine.task import Task
from modeling.losses.cross_entropy import CrossEntropy

Train = Callable[..., tuple[int, str, str]]


def test_classification_agrees_with_torchmetrics() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(200, 7), torch.randint(0, 7, (200,))
    evaluator = ClassificationEvaluator(num_classes=7, device=torch.device("cpu"))
    for part in torch.arange(200).split(33):
        evaluator.update(logits[part], {"target": target[part]})
    scores = evaluator.compute()
    common = {"task": "multiclass", "num_classes": 7}
    assert scores["top1"] == pytest.approx(accuracy(logits, target, average="micro", **common).item())
    assert scores["top5"] == pytest.approx(accuracy(logits, target, average="micro", top_k=5, **common).item())
    assert scores["f1_macro"] == pytest.approx(f1_score(logits, target, average="macro", **common).item())


def test_counting_many_classes_takes_no_further_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """C x C counts are kept once: a batch costs what its samples cost, and scores need only the sums."""
    classes = 300
    made: list[int] = []
    evaluator = ClassificationEvaluator(num_classes=classes, device=torch.device("cpu"))

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.untyped_storage().data_ptr() != own:
                made.append(out.untyped_storage().nbytes())
            return out

    monkeypatch.setattr("engine.evaluators.classification.AT_ONCE", 1)
    own = evaluator._confusion.untyped_storage().data_ptr()
    target = torch.randint(0, classes, (40,))
    logits = torch.nn.functional.one_hot((target + (torch.arange(40) % 4 == 0)) % classes, classes).float()
    with Sizes():
        for part in torch.arange(40).split(5):
            evaluator.update(logits[part], {"target": target[part]})
        scores, table = evaluator.compute(), evaluator.per_class()
    assert max(made) < 8 * classes**2 / 10, max(made)
    assert scores["top1"] == 0.75 and sum(table["support"]) == 40 and evaluator.confusion().trace() == 30


def test_regression_agrees_with_torchmetrics() -> None:
    torch.manual_seed(0)
    prediction, target = torch.randn(100, 1), torch.randn(100)
    evaluator = RegressionEvaluator(device=torch.device("cpu"))
    for part in torch.arange(100).split(30):
        evaluator.update(prediction[part], {"target": target[part]})
    scores = evaluator.compute()
    assert scores["mae"] == pytest.approx(mean_absolute_error(prediction[:, 0], target).item(), abs=1e-6)
    assert scores["r2"] == pytest.approx(r2_score(prediction[:, 0], target).item(), abs=1e-5)


def test_equal_logits_and_nan_are_counted_as_by_argmax_and_sorting() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(9, 500).round(), torch.randint(0, 9, (500,))
    logits[torch.rand(9, 500) < 0.1] = float("nan")
    logits[torch.rand(9, 500) < 0.1] = float("inf")
    logits[torch.rand(9, 500) < 0.1] = -float("inf")
    assert torch.equal(highest(logits), logits.argmax(dim=0))
    own, classes = logits.gather(0, target[None]), torch.arange(9)[:, None]
    assert torch.equal(behind(logits, target), ((logits < own) | ((logits == own) & (classes >= target))).sum(dim=0).float())


@pytest.mark.parametrize("shape", [(7,), (3, 7)], ids=["classes", "heads"])
def test_the_loss_of_an_evaluation_is_that_of_its_batches_however_many_are_asked_about_at_once(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    loss = CrossEntropy(7, 0.1, [1, 2, 3, 4, 5, 6, 7])
    images, target = torch.randn(230, *shape), torch.randint(0, 7, (230,))
    batches = [{"image": images[i], "target": target[i], "index": i} for i in torch.arange(230).split(20)]
    task, nowhere = Task(torch.nn.Identity(), loss), Features()
    found = []
    for values in (1, 700, 2**16):
        monkeypatch.setattr("engine.evaluation_losses.AT_ONCE", values)
        found.append(evaluate(task, batches, lambda batch: batch, nowhere, device=torch.device("cpu"))["loss"])
    assert found[0] == found[1] == found[2] == pytest.approx(loss(images, {"target": target})["loss"].item(), rel=1e-6)
    assert "loss" in task(batches[0])[1], "forward gives the loss again afterwards"


@pytest.mark.slow
def test_analyze_reads_data_and_model(tmp_path: Path) -> None:
    recipe = ["--config-file", str(ROOT / "configs" / "train_digits_softmax.yml")]
    data = command(str(ROOT / "tools" / "analyze.py"), "data", *recipe, cwd=tmp_path)
    assert data.returncode == 0 and "1294" in data.stdout and "mean (0.30" in data.stdout, data.stderr
    assert (tmp_path / "train_digits_softmax_samples.png").stat().st_size > 5000
    model = command(str(ROOT / "tools" / "analyze.py"), "model", *recipe, cwd=tmp_path)
    assert model.returncode == 0 and "650 parameters" in model.stdout and "1,280 FLOPs" in model.stdout, model.stderr
    wrong = command(str(ROOT / "tools" / "analyze.py"), "modle", *recipe, cwd=tmp_path)
    assert wrong.returncode == 2 and wrong.stderr.startswith("error:")


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "least"), [("train_digits_softmax", 0.94), ("train_digits_cnn", 0.975)])
def test_recipes_reach_their_scores(recipe: str, least: float, train: Train, tmp_path: Path) -> None:
    code, log, _ = train("--config-file", str(ROOT / "configs" / f"{recipe}.yml"))
    assert code == 0, log
    assert read_json(newest(tmp_path / "exp") / "test.json")["metrics"]["test/top1"] >= least


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["fast_dev", "overfit_one_batch", "limit"])
def test_debug_presets_run(preset: str, train: Train, tmp_path: Path) -> None:
    code, log, _ = train("--config-file", str(ROOT / "configs" / "debug" / f"{preset}.yml"))
    assert code == 0, log
    rows = [json.loads(line) for line in (newest(tmp_path / "exp") / "metrics.jsonl").read_text().splitlines()]
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert losses[-1] < (0.05 if preset == "overfit_one_batch" else losses[0] + 1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_an_evaluation_is_that_of_a_training(smoothing: float) -> None:
    """On a CPU it is added up along the samples; elsewhere torch's kernel for that is not deterministic, and not taken."""
    loss, taken = CrossEntropy(10, smoothing), functional.cross_entropy
    logits, target = torch.randn(40, 10, requires_grad=True), torch.randint(0, 10, (40,))
    trained, tested = (loss(values, {"target": target})["loss"] for values in (logits, logits.detach()))
    assert torch.allclose(trained, tested, rtol=1e-6)
    with patch.object(functional, "cross_entropy", wraps=taken) as seen:
        loss(logits.detach().to("meta"), {"target": target.to("meta")})
        assert seen.call_args.args[0].ndim == 2
        loss(logits.detach(), {"target": target})
        assert seen.call_args.args[0].ndim == 3
