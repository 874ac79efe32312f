"""What a step costs beyond torch's own work is counted, not timed: Python calls of this repository, waits, memory."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from conftest import ROOT, TINY
from test_metric_losses import CLASSES, FEATURES, METRIC, TARGET, loss_of
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from engine.hooks import HOOKS, Hook

MOST_CALLS = 37  # of our own functions in a step that logs nothing; 35 when this was written
MOST_READS = 1  # of a number from the device: the guard against NaN, which on CUDA needs none
WARM, COUNTED = 12, 20


@cache  # asked at every call of Python, of which torch makes many
def ours(file: str) -> bool:
    """Whether a file is this repository's own, and no test."""
    path = Path(file)
    return ROOT in path.parents and not {".venv", "tests"} & set(path.parts)


class Reads(TorchDispatchMode):
    """Counts the operations that wait for a device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and skipping it would import it

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._overloadpacket.__name__
        # Of truths as an index the device has to be asked how many are true.
        by_truths = name == "index" and any(one is not None and one.dtype is torch.bool for one in args[1])
        waits = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "_unique2", "unique_dim")
        self.count += by_truths or name in waits
        return func(*args, **(kwargs or {}))


class Counting(Hook):
    """Counts between two steps that log nothing."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.reads = Reads()

    def after_step(self, trainer: Any) -> None:
        """Begins after some steps, ends after some more."""
        if trainer.step == WARM:
            self.reads.__enter__()
            sys.setprofile(self._note)
        elif trainer.step == WARM + COUNTED:
            sys.setprofile(None)
            self.reads.__exit__(None, None, None)

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        comprehension = code.co_name[0] == "<"  # a call in some Pythons only
        if event == "call" and not comprehension and ours(code.co_filename):
            self.calls[f"{Path(code.co_filename).name}:{code.co_name}"] += 1


def test_a_step_makes_few_calls_and_waits_for_nothing_else(train: Callable[..., Any]) -> None:
    hook = Counting()
    HOOKS.register("counting")(lambda **_: hook)
    words = [*TINY, "DATASETS.TRAIN", "synthetic:800x1x8x8x4", "SOLVER.LOG_PERIOD", "1000", "HOOKS", "('counting',)"]
    assert train(*words, "SOLVER.MAX_EPOCHS", "1")[0] == 0
    calls = sum(hook.calls.values()) / COUNTED
    assert 5 < calls <= MOST_CALLS, (calls, hook.calls.most_common())
    assert hook.reads.count / COUNTED <= MOST_READS


@pytest.mark.parametrize("name", [*METRIC, "cross_entropy", "focal", "binary", "mse"])
def test_a_loss_asks_the_device_nothing(name: str) -> None:
    loss, features = loss_of(name), FEATURES.clone().requires_grad_()
    outputs = {"embedding": features, "feature": features, "logits": features[:, :CLASSES]}
    rows = functional.one_hot(TARGET, CLASSES).float() if name in ("binary", "mse", "focal") else TARGET
    with Reads() as reads:
        loss(outputs, {"target": rows, "index": torch.arange(len(TARGET))})["loss"].backward()
    assert reads.count == 0 and features.grad is not None


def test_steps_leave_no_tensors_behind(train: Callable[..., Any]) -> None:
    import gc

    live: list[int] = []

    class Living(Hook):
        def after_step(self, trainer: Any) -> None:
            if trainer.step in (10, 30):
                gc.collect()
                live.append(sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()))

    HOOKS.register("living")(lambda **_: Living())
    words = [*TINY, "DATASETS.TRAIN", "synthetic:800x1x8x8x4", "SOLVER.LOG_PERIOD", "1000", "HOOKS", "('living',)"]
    assert train(*words, "SOLVER.MAX_EPOCHS", "1")[0] == 0
    assert live[0] == live[1]
