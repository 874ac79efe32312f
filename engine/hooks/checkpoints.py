"""When which checkpoint is written: last.pt, best.pt, epoch_NNNN.pt. Training waits only for the copy of its state."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from engine import distributed
from engine.checkpoint import CheckpointWriter, load_newest
from engine.hooks.base import Hook
from engine.hooks.evaluation import EvaluationHook
from engine.sharded_checkpoint import join
from engine.writing import Save, Saver

if TYPE_CHECKING:
    from engine.trainer import Trainer


class CheckpointHook(Hook):
    """last.pt after each epoch (and, within one, every `seconds`), epoch_NNNN.pt every `period` epochs, best.pt when the
    validation score is the best so far, or each time where there is no validation.

    A file that cannot be written (full disk, read-only folder) is warned of and training goes on; best.pt is tried again
    with each later save. Only if last.pt or best.pt is not on disk at the end has the run failed.

    Of sharded training last and epoch_NNNN are folders, to which every rank writes (engine/sharded_checkpoint.py).

    Args:
        writer: None on ranks that write nothing.
        export: () -> what best.pt holds: weights, class names, preprocessing.
        evaluation: gives the score; None without validation.
        top_k: of the epoch_NNNN.pt only this many best, and the newest, are kept; 0 keeps all.
        beside: write in a thread beside training, or before it goes on.
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
        beside: bool = True,
    ) -> None:
        self.saver = Saver(writer, beside=beside) if writer is not None else None
        self.device = writer.device if writer is not None else None
        self.suffix = writer.suffix if writer is not None else ".pt"
        self.run, self.export, self.evaluation = run, export, evaluation
        self.period, self.seconds, self.top_k = period, seconds, top_k
        self.best: float | None = None
        self.best_step = 0
        self.kept: dict[str, float] = {}
        self._saved_at = time.monotonic()
        self.restored = ""  # the file that this run goes on from

    def overrides(self, event: str) -> bool:
        """Nothing is done after a step unless `seconds` is set."""
        return super().overrides(event) and (event != "after_step" or self.seconds > 0)

    def before_train(self, trainer: Trainer) -> None:
        """A run that goes on from an epoch_NNNN.pt writes last.pt at once: its end may be there, or last.pt is damaged."""
        trainer.agreement.ask("save", self._is_due)
        if self.restored not in ("", f"last{self.suffix}"):
            self.save_last(trainer)

    def after_step(self, trainer: Trainer) -> None:
        """last.pt, when it is time by the clock of rank 0. A save that is still being written is not waited for."""
        if trainer.agreement.says("save"):
            self.save_last(trainer)

    def after_epoch(self, trainer: Trainer) -> None:
        """best.pt, then epoch_NNNN.pt, then last.pt, so that last.pt knows of both."""
        score = self.evaluation.score if self.evaluation is not None and self.evaluation.fresh else None
        improved = score is not None and math.isfinite(score) and (self.best is None or score > self.best)
        best, name = improved or self.evaluation is None, ""
        if best:
            self.best, self.best_step = score, trainer.step
        if trainer.epoch % self.period == 0 and trainer.step_in_epoch == 0:
            name = f"epoch_{trainer.epoch:04d}{self.suffix}"
        self._save(trainer, best=best, epoch=name, score=score)

    def after_train(self, trainer: Trainer) -> None:
        """Waits for the last write. Where training ended well, all ranks end with its error if there was one.

        Raises:
            RunFailed: last.pt or best.pt could not be written.
        """
        if sys.exc_info()[0] is not None:  # training ended with an error: this one must not hide it
            if self.saver is not None:
                self.saver.settle()
            return
        if self.device is not None and self.saver is not None:
            self.saver.finish()  # a matter of all ranks
        else:
            distributed.on_main(lambda: self.saver.finish() if self.saver is not None else None)

    def save_last(self, trainer: Trainer) -> None:
        """last.pt, all that resuming needs. It is on disk after `wait`. All ranks must call this."""
        self._save(trainer)

    def wait(self) -> None:
        """Returns when nothing is being written any more; what could not be written was warned of."""
        for name in self.saver.settle() if self.saver is not None else []:
            self.kept.pop(name, None)

    def after_rollback(self, trainer: Trainer) -> None:
        """What was to be written of the steps gone back from is not any more."""
        if self.saver is not None:
            self.saver.drop()

    def newest_good(self) -> dict[str, Any] | None:
        """The newest good state on disk, the same on all ranks, all of which must call this; None where there is none yet.

        Raises:
            NoUsableCheckpoint: some were written, but none is good.
        """
        distributed.on_main(self.wait)
        found = load_newest(self.run.weights_dir)
        self.restored = found[0] if found else ""
        return join(found[1], self.run.weights_dir / self.restored, self.device) if found else None

    def state_dict(self) -> dict[str, Any]:
        """The best score and which files are kept."""
        return {"best": self.best, "best_step": self.best_step, "kept": dict(self.kept)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict()`."""
        self.best, self.best_step, self.kept = state["best"], state["best_step"], dict(state["kept"])

    def _save(self, trainer: Trainer, *, best: bool = False, epoch: str = "", score: float | None = None) -> None:
        trainer.read_losses()  # a loss that became NaN on the device ends the run before it is saved
        distributed.on_main(self.wait)
        if epoch:
            self._forget_worse(epoch, score)
        state = trainer.state_dict()  # of all ranks, so on every rank
        self._saved_at = time.monotonic()
        if self.saver is None:
            return
        if best:
            with trainer.ema.swap() if trainer.ema is not None else nullcontext():
                self.saver.keep_best(Save("best.pt", self.export(), trainer.step, score))
        state = {**state, "meta": {"run": self.run.id, "written": time.time()}}
        progress = {"epoch": trainer.epoch, "step": trainer.step, "total_steps": trainer.total_steps}
        self.saver.start(
            [
                *([Save(epoch, state, trainer.step, score)] if epoch else []),
                Save(f"last{self.suffix}", state, trainer.step, self.best),
            ],
            keep=set(self.kept) if epoch and self.top_k else None,
            then=lambda: self.run.update(progress=progress),
        )

    def _is_due(self) -> bool:
        """Asked of every rank in each step; rank 0 has the clock."""
        if self.saver is None or not self.seconds or self.saver.busy or not distributed.is_main():
            return False
        return time.monotonic() - self._saved_at >= self.seconds

    def _forget_worse(self, name: str, score: float | None) -> None:
        """Of the older files the `top_k` best are kept; the one about to be written is always."""
        if self.top_k:
            best = sorted(self.kept, key=lambda n: self.kept[n], reverse=True)[: self.top_k]
            self.kept = {n: value for n, value in self.kept.items() if n in best}
        self.kept[name] = score if score is not None and math.isfinite(score) else -math.inf
