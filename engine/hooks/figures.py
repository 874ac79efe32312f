"""The run's figures/ while it trains: one batch as it is trained on, and the learning curves."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from engine.figures.curves import draw_curves
from engine.figures.grid import Cell, draw_grid
from engine.figures.pictures import INK, harmless, small
from engine.hooks.base import Hook
from tracking.record import read_metrics
from utils import interrupts

if TYPE_CHECKING:
    from data import Splits
    from engine.hooks.evaluation import EvaluationHook
    from engine.hooks.tensorboard import TensorBoardHook
    from engine.trainer import Trainer

SHOWN = 32  # samples of the batch
SHARE = 0.01  # of the run's time that redrawing the curves may take; a short run draws them at its end alone


class FiguresHook(Hook):
    """Draws curves.png after an epoch that pays for it and at the end, and batch.png once.

    Args:
        run: whose metrics.jsonl is drawn, into whose figures/.
        splits: for the names of classes.
        events: gets the batch too; None for none.
        evaluation: knows the score that selects.
    """

    def __init__(self, run: Any, splits: Splits, events: TensorBoardHook | None, evaluation: EvaluationHook | None) -> None:
        self.run, self.splits, self.events, self.evaluation = run, splits, events, evaluation
        self._batch: dict[str, Any] = {}
        self._drawn, self._cost = time.monotonic(), 0.5

    def before_train(self, trainer: Trainer) -> None:
        """Takes the first batch. It is drawn later, so that the first step need not wait for it."""
        if trainer.step:
            return
        trainer.loader.set_position(0, 0)  # what it raises is the training's matter, not that of a picture
        batch = next((batch for batch in trainer.loader if "image" in batch), {})
        image, target = batch.get("image"), batch.get("target")
        if not isinstance(image, Tensor) or image.ndim != 4 or image.shape[1] not in (1, 3) or min(image.shape[2:]) < 2:
            return
        self._batch = {"image": image[:SHOWN].to("cpu", copy=True)}
        if isinstance(target, Tensor):  # else it is of a kind that has no few words
            self._batch["target"] = target[:SHOWN].to("cpu", copy=True)
        if self.events is not None:
            self.events.add_images("train/batch", self._batch["image"])

    def after_epoch(self, trainer: Trainer) -> None:
        """Draws where the time since the last drawing pays for it."""
        if time.monotonic() - self._drawn > self._cost / SHARE:
            self.draw()

    def after_train(self, trainer: Trainer) -> None:
        """Draws; not where a signal asks to end soon."""
        if not interrupts.received():
            self.draw()

    def draw(self) -> None:
        """The batch, if not yet drawn, and the curves."""
        start = time.monotonic()
        with harmless("the pictures of the training"):
            if self._batch:
                self._draw_batch(self.run.figures_dir / "batch.png")
                self._batch = {}
            judge = self.evaluation
            primary = f"val/{judge.primary}" if judge is not None else ""
            lower = judge is not None and judge.primary in judge.lower_is_better
            rows, path = read_metrics(self.run.path / "metrics.jsonl"), self.run.figures_dir / "curves.png"
            draw_curves(rows, self.run.path.name, path, primary=primary, lower_is_better=lower)
        self._drawn, self._cost = time.monotonic(), time.monotonic() - start

    def _draw_batch(self, path: Path) -> None:
        images = self._batch["image"]
        names = [self._name(target) for target in self._batch["target"]] if "target" in self._batch else [""] * len(images)
        cells = [Cell(small(image), [(name, INK)]) for image, name in zip(images, names, strict=True)]
        title = f"{self.splits.train.name}: the first samples as they are trained on"
        draw_grid(cells, title, "after the transforms, before they are mixed and normalised", path)

    def _name(self, target: Any) -> str:
        """A target in words; "" for what has none (mixed samples, masks)."""
        kind = self.splits.train.target_kind
        if kind == "labels" and target.ndim == 1:
            return self.splits.text_of(tuple(target.nonzero()[:, 0].tolist()))
        if target.ndim or target.is_floating_point() != (kind == "value"):
            return ""
        number = target.item()
        return f"{number:.4g}" if kind == "value" else self.splits.text_of(number) if number >= 0 else ""
