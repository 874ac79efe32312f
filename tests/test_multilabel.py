"""Samples with any number of classes: read, split, trained on, scored exactly and written down by name."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, command, newest, read_json
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.functional.classification import (
    multilabel_average_precision,
    multilabel_exact_match,
    multilabel_f1_score,
)

from config import load_file
from data import build_splits, make_data_loader
from data.dataset import Part, class_counts, labels_of
from data.splits import stratified
from engine.evaluators.multilabel import MultilabelEvaluator
from modeling.losses import LOSSES
from utils.errors import UserError

Train = Callable[..., tuple[int, str, str]]
LABELS = [
    *TINY, "DATASETS.TRAIN", "synthetic_labels:160x1x8x8x3", "LOSS.NAME", "yes_or_no", "TEST.EVALUATOR", "multilabel",
    "SOLVER.BASE_LR", "0.3",
]  # fmt: skip


@LOSSES.register("yes_or_no")
class YesOrNo(nn.Module):
    """The plainest loss for such targets."""

    soft_targets = True

    def forward(self, outputs: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Mean over samples and classes."""
        return {"loss": functional.binary_cross_entropy_with_logits(outputs.float(), batch["target"])}


def write_table(folder: Path, cells: list[str], header: str = "path,targets") -> Path:
    """Pictures and a CSV that names them."""
    for n in range(len(cells)):
        Image.new("RGB", (8, 8), (n % 250, 0, 0)).save(folder / f"{n}.png")
    file = folder / "table.csv"
    file.write_text("\n".join([header, *(f"{n}.png,{cell}" for n, cell in enumerate(cells))]) + "\n")
    return file


def test_a_cell_holds_any_number_of_classes(tmp_path: Path) -> None:
    file = write_table(tmp_path, ["cat|dog", "dog", "", " bird ; cat ", "dog|dog|", "cat"])
    cfg = load_file(None, [("DATASETS.TRAIN", f"csv:{file}"), ("DATASETS.TEST", f"csv:{file}"), ("DATASETS.VAL_FRACTION", "0")])
    splits = build_splits(cfg)
    assert splits.classes == ["bird", "cat", "dog"] and splits.num_classes == 3
    assert list(splits.train.targets) == [(1, 2), (2,), (), (0, 1), (2,), (1,)]
    assert splits.train.target_kind == "labels" and class_counts(splits.train) == [1, 3, 3]
    batch = next(iter(make_data_loader(cfg, "test", splits)))
    rows = [[0, 1, 1], [0, 0, 1], [0, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 0]]
    assert batch["target"].dtype == torch.float32 and batch["target"].tolist() == rows
    assert splits.text_of((0, 2)) == "bird|dog" and splits.text_of(()) == ""


def test_one_class_a_cell_stays_as_it_was(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write_table(tmp_path, ["a|b", "a", "a", "a|b"], header="path,target")
    words = [("DATASETS.TRAIN", f"csv:{file}"), ("DATASETS.TEST", f"csv:{file}")]
    splits = build_splits(load_file(None, words))
    assert splits.classes == ["a", "a|b"] and splits.train.target_kind == "class"
    assert "name the column targets" in caplog.text


@pytest.mark.parametrize(("cells", "said"), [(["a,b"], r"table.csv:2: expected path,targets"), (["", ""], "names a class")])
def test_bad_tables_are_said(cells: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        build_splits(load_file(None, [("DATASETS.TRAIN", f"csv:{write_table(tmp_path, cells)}")]))


@pytest.mark.parametrize("transforms", ["[]", "[RandomHorizontalFlip]"])
def test_loaders_give_equal_targets(transforms: str) -> None:
    words = [("DATASETS.TRAIN", "synthetic_labels"), ("INPUT.TRANSFORMS_TRAIN", transforms)]
    for more in ([], [("DATALOADER.LOADER", "processes"), ("DATALOADER.NUM_WORKERS", "1")]):
        cfg = load_file(None, [*words, *more])
        splits = build_splits(cfg)
        batches = list(make_data_loader(cfg, "train", splits))
        for batch in batches:
            assert batch["target"].shape == (len(batch["index"]), 4) and batch["target"].dtype == torch.float32
            assert labels_of(batch["target"]) == [splits.train.targets[i] for i in batch["index"].tolist()]
        assert sum(len(batch["index"]) for batch in batches) == len(splits.train)


def parted(targets: list[tuple[int, ...]], seed: int) -> list[list[int]]:
    return [part.tolist() for part in stratified(targets, 0.2, seed)]


@pytest.mark.parametrize("seed", [0, 1])
def test_each_class_keeps_its_share_in_the_held_out_part(seed: int) -> None:
    draws = torch.rand(1000, 6, generator=torch.Generator().manual_seed(seed))
    targets = labels_of(draws < torch.tensor([0.5, 0.3, 0.2, 0.1, 0.05, 0.01]))
    kept, held_out = parted(targets, seed)
    assert sorted(kept + held_out) == list(range(1000)) and len(held_out) == 200 == len(set(held_out))
    all_of, held = (Counter(n for row in rows for n in targets[row]) for rows in (range(1000), held_out))
    for label, count in all_of.items():
        assert abs(held[label] - 0.2 * count) <= max(1.5, 0.02 * count), label
    assert parted(targets, seed) == [kept, held_out] != parted(targets, seed + 5)


def test_a_split_of_few_or_unlabelled_samples_still_parts_them() -> None:
    assert [len(part) for part in stratified([(), (), ()], 0.1, 0)] == [2, 1]
    assert [len(part) for part in stratified([(0,), (0,), (0, 1), (1,)], 0.9, 0)] == [1, 3]


def update_in_parts(logits: Tensor, target: Tensor) -> MultilabelEvaluator:
    """An evaluator that saw everything, in uneven batches."""
    evaluator = MultilabelEvaluator(num_classes=logits.shape[1], device=torch.device("cpu"))
    for part in torch.arange(len(logits)).split(37):
        evaluator.update(logits[part], {"target": target[part]})
    return evaluator


@pytest.mark.parametrize("ties", [False, True])
def test_scores_agree_with_torchmetrics(ties: bool) -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(200, 6), (torch.rand(200, 6) < 0.3).float()
    if ties:
        logits = logits.mul(2).round().div(2) + 0.01  # equal scores: their order may not matter
    evaluator = update_in_parts(logits, target)
    scores, truth = evaluator.compute(), target.long()
    assert next(iter(scores)) == "mAP"
    assert scores["mAP"] == pytest.approx(multilabel_average_precision(logits.sigmoid(), truth, 6).item(), abs=1e-6)
    assert scores["f1_macro"] == pytest.approx(multilabel_f1_score(logits, truth, 6, average="macro").item(), abs=1e-6)
    assert scores["f1_micro"] == pytest.approx(multilabel_f1_score(logits, truth, 6, average="micro").item(), abs=1e-6)
    assert scores["subset_accuracy"] == pytest.approx(multilabel_exact_match(logits, truth, 6).item(), abs=1e-6)
    each = multilabel_average_precision(logits.sigmoid(), truth, 6, average="none")
    assert evaluator.per_class()["average_precision"] == pytest.approx(each.tolist(), abs=1e-6)
    order = torch.randperm(200)
    assert update_in_parts(logits[order], target[order]).compute() == scores  # to the last digit
    evaluator.reset()
    assert set(evaluator.compute().values()) == {0.0}


def test_classes_without_a_positive_do_not_enter_map() -> None:
    logits, target = torch.tensor([[2.0, -1.0], [1.0, -2.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    scores = update_in_parts(logits, target).compute()
    assert scores["mAP"] == 1.0 and scores["f1_macro"] == pytest.approx(2 / 3)


def test_it_trains_scores_and_writes_predictions_by_name(train: Train, tmp_path: Path) -> None:
    import test_net

    mixed = ["INPUT.MIXUP_ALPHA", "0.2", "TEST.AUGMENT", "[five_crop]", "SOLVER.MAX_EPOCHS", "20"]
    code, log, _ = train(*LABELS, *mixed)
    assert code == 0, log
    run = newest(tmp_path / "exp")
    result = read_json(run / "test.json")
    assert result["metrics"]["test/mAP"] > 0.8
    assert read_json(run / "status.json")["primary_metric"] == "val/mAP"
    assert set(result["per_class"]) >= {"classes", "average_precision", "support"}
    rows = list(csv.DictReader((run / "predictions.csv").open()))
    test = build_splits(load_file(None, list(zip(LABELS[::2], LABELS[1::2], strict=True)))).test
    assert test is not None and len(rows) == len(test)
    for row, target in zip(rows, test.targets, strict=True):
        assert row["target"] == "|".join(f"class_{n}" for n in target)
        assert set(row["prediction"].split("|")) <= {"", "class_0", "class_1", "class_2"}
        assert 0.5 <= float(row["confidence"]) <= 1
    right = sum(row["target"] == row["prediction"] for row in rows) / len(rows)
    assert right == pytest.approx(result["metrics"]["test/subset_accuracy"])
    assert train(str(run), main=test_net.main)[0] == 0
    assert read_json(run / "test.json") == result


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["LOSS.NAME", "cross_entropy"], "take LOSS.NAME binary and TEST.EVALUATOR multilabel"),
        (["TEST.EVALUATOR", "classification"], "any number of classes a sample"),
        (["DATALOADER.SAMPLER", "balanced"], "one class a sample"),
        (["DATASETS.TEST", "synthetic:96x1x8x8x3"], "must be of one kind"),
    ],
)
def test_what_takes_one_class_says_so(words: list[str], said: str, train: Train, tmp_path: Path) -> None:
    code, error, _ = train(*LABELS, *words)
    assert code == 2 and said in error and "Traceback" not in error and not (tmp_path / "exp").exists(), error


def test_analyze_counts_each_class(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parent.parent
    words = ["DATASETS.TRAIN", "synthetic_labels:64x1x8x8x3", "NAME", "labels"]
    done = command(str(root / "tools" / "analyze.py"), "data", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    splits = build_splits(load_file(None, [("DATASETS.TRAIN", words[1])]))
    assert str(class_counts(splits.train)[0]) in done.stdout and (tmp_path / "labels_samples.png").is_file()


def test_parts_keep_labels() -> None:
    whole = build_splits(load_file(None, [("DATASETS.TRAIN", "synthetic_labels")])).train
    part = Part(whole, [3, 5])
    sample: dict[str, Any] = part[1]
    assert part.target_kind == "labels" and labels_of(sample["target"][None]) == [part.targets[1]]


GATHER = """
import sys; sys.path[:0] = ["."]
import torch
from engine import distributed
from engine.evaluators.multilabel import MultilabelEvaluator
with distributed.session(torch.device("cpu")):
    rank, world = distributed.rank(), distributed.world_size()
    torch.manual_seed(0)
    logits, target = torch.randn(101, 4).mul(2).round(), (torch.rand(101, 4) < 0.3).float()
    evaluator = MultilabelEvaluator(num_classes=4, device=torch.device("cpu"))
    for part in torch.arange(101).chunk(world)[rank].split(10):
        evaluator.update(logits[part], {"target": target[part]})
    scores = evaluator.compute()
    print(f"SCORES {scores}") if rank == world - 1 else None
"""


@pytest.mark.slow
def test_scores_are_the_same_digits_on_any_number_of_ranks(tmp_path: Path) -> None:
    (tmp_path / "gather.py").write_text(GATHER)
    said = []
    for ranks in ("1", "2"):
        done = command("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", ranks, str(tmp_path / "gather.py"))
        assert done.returncode == 0, done.stderr[-2000:]
        said.append(done.stdout[done.stdout.index("SCORES") :].strip())
    assert said[0] == said[1]
