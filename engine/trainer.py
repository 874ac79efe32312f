"""The loop. Read `Trainer.train` and `Trainer.train_step`; all else is beside the point."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from engine import distributed
from engine.agreement import Agreement
from engine.hooks.base import Hook
from engine.meters import MeanMeter
from engine.numbers import GoBack, NonFinite, Step, make_guard
from engine.randomness import GlobalGenerators
from engine.sharding import keep_gradients, whole
from engine.state import load_parts
from engine.task import Batch, Task, total_loss
from solver import NamedOptimizer, set_lr
from utils.errors import RunFailed
from utils.interrupts import Interrupted

LOG = logging.getLogger("fieldbook.engine")
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Loader(Protocol):
    """What the trainer asks of a loader: it can begin anywhere in an epoch without reading what it skips."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Batch]: ...
    def set_position(self, epoch: int, batch: int) -> None: ...


class Stateful(Protocol):
    """What can be registered: its state goes into every checkpoint and comes back on resume."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


class Trainer:
    """Trains a task. A *step* is an optimizer step, everywhere; it consumes a *window* of `accumulate` batches.

    The order of events, in which hooks run in the order of their list (numbers, validation, early stop, your own,
    checkpoints, signals: what is saved knows of all that was decided before):

        before_train
        for each epoch:
            before_epoch
            for each window of batches:
                train_step        learning rate, forward, backward, clip, optimizer, EMA
                after_step
            after_epoch           validation, early stop, checkpoints
            after_interrupt       where a signal broke the validation off
        after_train               always, also when something was raised

    and, where a loss or gradient is NaN or infinite, `on_nonfinite`; `after_rollback` if that goes back to a checkpoint.

    For another kind of training (GAN, distillation, detection) override `compute_losses` or `train_step`, and
    `register` every further thing that has state, several optimizers included.

    Args:
        task: model and loss, on the device.
        optimizer: its groups carry "lr_factor"; see `solver.make_optimizer`.
        schedule: step -> learning rate, a pure function (nothing to save, nothing to restore).
        loader: training batches, images as uint8, on the CPU or on the device.
        prepare: batch -> batch on the device, normalised.
        max_epochs, max_steps: the end, whichever comes first; `max_steps` 0 means by epochs alone.
        wrapped: what `prepare_model` made of the task (DDP, sharded, compiled); by default the task itself.
        accumulate: batches a step.
        precision: fp32, bf16 or fp16 (with a loss scaler).
        clip_norm, clip_value: greatest norm of the gradient, and greatest size of each of its values; 0 leaves it alone.
        ema: moving average of the weights, `update()`d after each step.
        wait: look at each step's numbers before the next begins, as a CPU always does; needed to leave single steps out.
    """

    leaves_out = True  # whether ranks may lack batches of any window (bad samples left out), not only of the last

    def __init__(
        self,
        task: Task,
        optimizer: torch.optim.Optimizer,
        schedule: Callable[[int], float],
        loader: Loader,
        prepare: Callable[[Batch], Batch],
        *,
        device: torch.device,
        max_epochs: int,
        max_steps: int = 0,
        wrapped: nn.Module | None = None,
        accumulate: int = 1,
        precision: str = "fp32",
        clip_norm: float = 0.0,
        clip_value: float = 0.0,
        ema: Any = None,
        wait: bool = False,
    ) -> None:
        self.task, self.wrapped = task, wrapped if wrapped is not None else task
        self.optimizer, self.schedule, self.ema = optimizer, schedule, ema
        self.loader, self.prepare, self.device = loader, prepare, device
        self.accumulate, self.precision = accumulate, precision
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self.steps_per_epoch = -(-len(loader) // accumulate)
        self.total_steps = min(max_steps or 2**62, max_epochs * self.steps_per_epoch)
        self.max_epochs = -(-self.total_steps // max(self.steps_per_epoch, 1))
        self.epoch = self.step = self.step_in_epoch = self.samples = 0
        self.stop_reason = ""
        self.listeners: list[Callable[[int, dict[str, float]], None]] = []
        self.meter = MeanMeter(device)
        self.agreement = Agreement(device)
        self.data_seconds = 0.0
        self.measure_gradient = False
        self.gradient_norm: Tensor | None = None
        self._scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.guard = make_guard(task, optimizer, device, wait=wait, scaled=precision == "fp16")
        # What parts of a loss move by a rule of their own, after the optimizer (the centres of center).
        self._own_moves: list[Any] = [part.end_step for part in task.loss.modules() if hasattr(part, "end_step")]
        self._registered: dict[str, Stateful] = {}
        self.register("model", task.model)
        self.register("loss", task.loss)
        self.register("optimizer", NamedOptimizer(optimizer, task))
        self.register("scaler", self._scaler)
        self.register("generators", GlobalGenerators())
        self.register("meter", self.meter)
        if ema is not None:
            self.register("ema", ema)
        self.hooks: list[Hook] = []
        self.rank, self.is_main, self.world_size = distributed.rank(), distributed.is_main(), distributed.world_size()

    def add_hooks(self, hooks: Sequence[Hook]) -> None:
        """Appends hooks, in order, and registers those that have state."""
        self.hooks += hooks
        for hook in hooks:
            if hook.state_name:
                self.register(hook.state_name, hook)

    def train(self) -> None:
        """Trains from where the trainer stands (the start, or where `load_state_dict` put it) to the end."""
        try:
            self._call("before_train")
            goes_on = True
            while goes_on and self.epoch < self.max_epochs and not self.stop_reason:
                try:
                    goes_on = self._epoch_with_hooks()
                except GoBack as back:  # a hook wants to go on from an earlier state
                    self.optimizer.zero_grad(set_to_none=True)
                    self.stop_reason = ""
                    self.load_state_dict(back.state)
                    self._call("after_rollback")
        finally:
            self._call_all("after_train")

    def _epoch_with_hooks(self) -> bool:
        """What is left of the current epoch; whether another may follow."""
        self._call("before_epoch")
        self.train_epoch()
        whole = self.step_in_epoch >= self.steps_per_epoch
        if not whole and self.step < self.total_steps:
            return False  # stopped in the middle of the epoch: it goes on from here when resumed
        position = self.epoch, self.step_in_epoch
        if whole:
            self.epoch, self.step_in_epoch = self.epoch + 1, 0
        try:
            self.read_losses()  # what is not finite ends here, before it is validated
            self._call("after_epoch")
        except Interrupted:  # a signal, in validation: all of an epoch's end happens once more when the run goes on
            self.epoch, self.step_in_epoch = position
            self._call("after_interrupt")
        return whole  # else ended by max_steps: the position stays, should the run be given more of them

    def train_epoch(self) -> None:
        """The rest of the current epoch, window by window."""
        after_step = [hook.after_step for hook in self.hooks if hook.overrides("after_step")]
        self.task.train()
        windows = self.windows(self.epoch, self.step_in_epoch)
        while self.step_in_epoch < self.steps_per_epoch and self.step < self.total_steps and not self.stop_reason:
            start = time.perf_counter()
            window = next(windows)
            self.data_seconds += time.perf_counter() - start
            if window:  # without one (bad samples left out) there is nothing to learn from
                self.train_step(window)
            self.step, self.step_in_epoch = self.step + 1, self.step_in_epoch + 1
            self.agreement.end_step()
            for act in after_step:
                act(self)

    def train_step(self, window: list[Batch]) -> None:
        """One optimizer step on the mean loss over all samples of the window, over all ranks."""
        set_lr(self.optimizer, self.schedule(self.step))
        indices = [batch["index"] for batch in window]
        self.guard.begin(self.epoch, self.step, self.step_in_epoch, indices)
        counts = [index.shape[0] for index in indices]
        samples = sum(counts)
        total = self._over_ranks(samples)
        seen: list[dict[str, Tensor]] = []
        for i, (batch, count) in enumerate(zip(window, counts, strict=True)):
            with keep_gradients(self.wrapped, more=i + 1 < len(window)) if self.world_size > 1 else nullcontext():
                with self._autocast():
                    losses = self.compute_losses(self.prepare(batch))
                    loss = total_loss(losses)
                self._scaler.scale(self.guard.weigh(loss, count * self.world_size / total)).backward()
            seen.append({**losses, "loss": loss.detach()})
        if self._update([losses["loss"] for losses in seen]):
            for move in self._own_moves:
                move(distributed.all_reduce_sum)
            for losses, count in zip(seen, counts, strict=True):
                self.meter.add(losses, count)
        self.samples += samples
        for parameter in self._parameters:
            parameter.grad = None

    def windows(self, epoch: int, first: int) -> Iterator[list[Batch]]:
        """The batches of each step of an epoch on this rank, from step `first` of it on; those without a sample left out."""
        self.loader.set_position(epoch, first * self.accumulate)
        batches = iter(self.loader)
        for number in range(first, self.steps_per_epoch):
            window = [batch for _, batch in zip(range(self.accumulate), batches, strict=False)]
            kept = [batch for batch in window if len(batch["index"])]
            missing = self._fewest(len(kept), number + 1 == self.steps_per_epoch) - len(kept)
            yield kept + missing * self._stand_in(epoch) if missing > 0 else kept

    def _fewest(self, own: int, last: bool) -> int:
        """Batches that a rank's window must have: with several ranks one, and sharded, where each forward is a matter of all
        ranks, as many as the rank with the most has, which is asked where it may be more."""
        if self.guard.sharded and (last or self.leaves_out):
            own = distributed.greatest(own, self.device)
        return max(own, int(self.world_size > 1))

    def _stand_in(self, epoch: int) -> list[Batch]:
        """For a rank without a sample in an epoch's short last window: it takes part in the step, but with no weight."""
        self.loader.set_position(epoch, 0)
        batch = next((batch for batch in self.loader if len(batch["index"])), None)
        if batch is None:
            raise RunFailed(f"rank {distributed.rank()} has no sample at all; see the warnings on bad samples")
        return [{**batch, "index": batch["index"][:0]}]

    def compute_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Named losses of a prepared batch, each a mean over its samples."""
        _, losses = self.wrapped(batch)
        return losses

    def announce(self, step: int, row: dict[str, float]) -> None:
        """Tells every listener (TensorBoard, the bar) what was logged."""
        for listener in self.listeners:
            listener(step, row)

    def register(self, name: str, part: Stateful) -> None:
        """Makes the state of `part` a part of every checkpoint, under `name`."""
        assert name not in self._registered and name not in ("schema", "progress", "meta"), f"{name!r} is taken"
        self._registered[name] = part

    def state_dict(self) -> dict[str, Any]:
        """All registered state and the position, as plain types and tensors."""
        progress = {"epoch": self.epoch, "step": self.step, "step_in_epoch": self.step_in_epoch}
        return {"progress": progress, **{name: part.state_dict() for name, part in self._registered.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts every registered part, and the position, where `state` was taken.

        Raises:
            UserError: the checkpoint lacks a part that this trainer has, or one does not fit.
        """
        built = [{k: v for k, v in group.items() if k not in ("params", "lr")} for group in self.optimizer.param_groups]
        load_parts(self._registered, state)
        for group, settings in zip(self.optimizer.param_groups, built, strict=True):
            group.update(settings)  # decays, momenta and factors are those of the config, which a resume may change
        self.epoch, self.step, self.step_in_epoch = (state["progress"][name] for name in ("epoch", "step", "step_in_epoch"))

    def read_losses(self) -> dict[str, float]:
        """Mean losses since the last log; waits for the device, whose steps that were not finite are noticed here.

        Raises:
            NonFinite: there was one, and no hook dealt with it.
        """
        bad = self.guard.look()
        if bad is not None:
            self._not_finite(bad, spoilt=self.guard.scaled)
        if self._scaler.is_enabled() and self._scaler.get_scale() < 1:  # 17 gradients in a row that were not finite
            self._not_finite(self.guard.newest, spoilt=True)
        values = self.meter.read()
        if not all(math.isfinite(value) for name, value in values.items() if name.startswith("loss")):
            self._not_finite(self.guard.newest, spoilt=True)
        return values

    def _update(self, losses: list[Tensor]) -> bool:
        """Clips, steps and averages; whether the weights moved."""
        self._scaler.unscale_(self.optimizer)
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        if self.guard.finds(losses, gradients):
            self.guard.put_back()
            self._scaler.update()
            self._not_finite(self.guard.newest)
            return False
        if self.clip_norm > 0:
            self.gradient_norm = whole(nn.utils.clip_grad_norm_(self._parameters, self.clip_norm))
        elif self.measure_gradient:
            self.gradient_norm = whole(nn.utils.get_total_norm(gradients))
        if self.clip_value > 0:
            nn.utils.clip_grad_value_(self._parameters, self.clip_value)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        if self.ema is not None:
            self.ema.update()
        return True

    def _not_finite(self, step: Step | None, spoilt: bool = False) -> None:
        """Asks the hooks what to do about a step whose loss or gradient is not finite; `spoilt`: the weights moved since.

        Raises:
            NonFinite: none of them deals with it.
        """
        step = step or Step(self.epoch, self.step, self.step_in_epoch)
        dealt = [hook.on_nonfinite(self, step, spoilt) for hook in self.hooks]
        if not any(dealt):
            at = "at or some steps before" if spoilt else "at"
            raise NonFinite(f"the loss or a gradient is not finite {at} step {step.step} (epoch {step.epoch})")

    def _over_ranks(self, count: int) -> int | Tensor:
        """The samples of the window. A batch weighs its share of them, times ranks, because DDP averages over ranks."""
        return max(count, 1) if self.world_size == 1 else self.agreement.share(count).clamp(min=1)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=AUTOCAST[self.precision])

    def _call(self, event: str) -> None:
        for hook in self.hooks:
            getattr(hook, event)(self)

    def _call_all(self, event: str) -> None:
        """As `_call`, but every hook gets its turn, though one raises; the first error is raised then."""
        first: BaseException | None = None
        for hook in self.hooks:
            try:
                getattr(hook, event)(self)
            except BaseException as error:
                if first is not None:
                    LOG.exception("a further error in %s", event)
                first = first or error
        if first is not None:
            raise first
