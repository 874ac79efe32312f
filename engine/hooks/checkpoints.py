"""When which checkpoint is written: last.pt, best.pt, epoch_NNNN.pt."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from engine import distributed
from engine.checkpoint import CheckpointWriter, load_newest
from engine.hooks.base import Hook
from engine.hooks.evaluation import EvaluationHook

if TYPE_CHECKING:
    from engine.trainer import Trainer


class CheckpointHook(Hook):
    """last.pt after each epoch (and, within one, every `seconds`), epoch_NNNN.pt every `period` epochs, best.pt when the
    validation score is the best so far, or each time where there is no validation.

    Args:
        writer: None on ranks that write nothing.
        export: () -> what best.pt holds: weights, class names, preprocessing.
        evaluation: gives the score; None without validation.
        top_k: of the epoch_NNNN.pt only this many best, and the newest, are kept; 0 keeps all.
    """

    state_name = "checkpoints"

    def __init__(
        self,
        writer: CheckpointWriter | None,
        run: Any,
        export: Callable[[], dict[str, Any]],
        *,
        evaluation: EvaluationHook | None,
        period: int,
        seconds: float = 0.0,
        top_k: int = 0,
    ) -> None:
        self.writer, self.run, self.export, self.evaluation = writer, run, export, evaluation
        self.period, self.seconds, self.top_k = period, seconds, top_k
        self.best: float | None = None
        self.best_step = 0
        self.kept: dict[str, float] = {}
        self._saved_at = time.monotonic()

    def overrides(self, event: str) -> bool:
        """Nothing is done after a step unless `seconds` is set."""
        return super().overrides(event) and (event != "after_step" or self.seconds > 0)

    def after_step(self, trainer: Trainer) -> None:
        """last.pt, when it is time by the clock of rank 0: saving is a matter of all ranks."""
        due = distributed.is_main() and time.monotonic() - self._saved_at >= self.seconds
        if distributed.any_rank(due):
            self.save_last(trainer)

    def after_epoch(self, trainer: Trainer) -> None:
        """best.pt, then epoch_NNNN.pt, then last.pt, so that last.pt knows of both."""
        score = self.evaluation.score if self.evaluation is not None and self.evaluation.fresh else None
        improved = score is not None and math.isfinite(score) and (self.best is None or score > self.best)
        if improved or self.evaluation is None:
            self.best, self.best_step = score, trainer.step
            self._write_best(trainer, score)
        if trainer.epoch % self.period == 0 and trainer.step_in_epoch == 0:
            name = f"epoch_{trainer.epoch:04d}.pt"
            self._forget_worse(name, score)
            self._write(trainer, name, score)
        self.save_last(trainer)

    def save_last(self, trainer: Trainer) -> None:
        """last.pt, all that resuming needs."""
        self._write(trainer, "last.pt", self.best)
        self._saved_at = time.monotonic()
        self.run.update(progress={"epoch": trainer.epoch, "step": trainer.step, "total_steps": trainer.total_steps})

    def newest_good(self) -> dict[str, Any] | None:
        """The newest good checkpoint, on every rank; None where there is none yet. All ranks must ask."""
        distributed.barrier()
        return load_newest(self.run.weights_dir)

    def state_dict(self) -> dict[str, Any]:
        """The best score and which files are kept."""
        return {"best": self.best, "best_step": self.best_step, "kept": dict(self.kept)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict()`."""
        self.best, self.best_step, self.kept = state["best"], state["best_step"], dict(state["kept"])

    def _write_best(self, trainer: Trainer, score: float | None) -> None:
        if self.writer is not None:
            with trainer.ema.swap() if trainer.ema is not None else nullcontext():
                self.writer.write("best.pt", self.export(), step=trainer.step, metric=score)

    def _write(self, trainer: Trainer, name: str, score: float | None) -> None:
        trainer.read_losses()  # a loss that became NaN on the device ends the run before it is saved
        state = trainer.state_dict()  # of all ranks, so on every rank
        if self.writer is not None:
            content = {**state, "meta": {"run": self.run.id, "written": time.time()}}
            self.writer.write(name, content, step=trainer.step, metric=score)

    def _forget_worse(self, name: str, score: float | None) -> None:
        """Keeps the `top_k` best of the older files; the one about to be written is always kept."""
        if self.top_k and self.writer is not None:
            ranked = sorted(self.kept, key=lambda n: self.kept[n], reverse=True)
            for worse in ranked[self.top_k :]:
                self.writer.remove(worse)
                del self.kept[worse]
        self.kept[name] = score if score is not None and math.isfinite(score) else -math.inf
