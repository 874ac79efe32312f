"""Too little memory ends a run in one line, with the key that helps; what was saved stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, newest, read_json
from torch import Tensor, nn

from modeling.losses import LOSSES

Train = Callable[..., tuple[int, str, str]]
NEEDS = {"training": 10**9, "evaluation": 10**9}  # the call at which each runs out


@LOSSES.register("hungry")
class Hungry(nn.Module):
    """Asks for more memory than there is, at its n-th call."""

    def forward(self, outputs: Tensor, batch: dict[str, Any]) -> dict[str, Tensor]:
        kind = "training" if outputs.requires_grad else "evaluation"
        NEEDS[kind] -= 1
        if NEEDS[kind] == 0:
            torch.empty(2**60)
        return {"loss": nn.functional.cross_entropy(outputs, batch["target"])}


@pytest.mark.parametrize(
    "kind, call, advice",
    [("training", 10, "SOLVER.ACCUMULATE 2"), ("evaluation", 2, "lower TEST.IMS_PER_BATCH, now 256")],
)
def test_out_of_memory_names_the_key_and_keeps_the_run(
    kind: str, call: int, advice: str, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NEEDS, kind, call)
    code, log, _ = train(*TINY, "LOSS.NAME", "hungry")
    said = [line for line in log.splitlines() if "out of memory" in line]
    assert code == 1 and len(said) == 1 and advice in said[0] and "MB" in said[0] and "Traceback" not in log
    run = newest(tmp_path / "exp")
    assert read_json(run / "status.json")["status"] == "failed"
    NEEDS[kind] = 10**9
    code, log, _ = train("--resume", run.name)
    assert code == 0 and "resumed at epoch 1, step 6" in log, log


def test_a_device_out_of_memory_is_the_same_to_us() -> None:
    from engine.memory import is_out_of_memory

    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
