"""What does not fit is listed and refused: weights, averages, optimizers; nothing is restored by position alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, newest
from torch import nn

from modeling import load_weights
from solver import ModelEMA, NamedOptimizer
from utils.errors import UserError

Train = Callable[..., tuple[int, str, str]]


def stepped(module: nn.Module, kind: type[torch.optim.Optimizer] = torch.optim.AdamW) -> NamedOptimizer:
    """An optimizer with moments."""
    optimizer = kind(module.parameters(), lr=0.1)  # type: ignore[call-arg]
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return NamedOptimizer(optimizer, module)


def test_an_optimizer_of_another_class_or_order_is_refused() -> None:
    first, second = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    state = stepped(first).state_dict()
    with pytest.raises(UserError, match="the state of AdamW, this optimizer is SGD; set SOLVER.OPTIMIZER_NAME AdamW"):
        stepped(second, torch.optim.SGD).load_state_dict(state)
    turned = torch.optim.AdamW(list(second.parameters())[::-1], lr=0.1)
    with pytest.raises(UserError, match=r"order changed, number 0 was 0.weight and is now 1.bias"):
        NamedOptimizer(turned, second).load_state_dict(state)
    with pytest.raises(UserError, match=r"lacks bias, weight of today's"):
        stepped(nn.Linear(2, 2)).load_state_dict(state)
    same = stepped(second)
    same.load_state_dict(state)
    assert all(torch.equal(a["exp_avg"], b["exp_avg"]) for a, b in zip(
        state["state"].values(), same.state_dict()["state"].values(), strict=True
    ))  # fmt: skip


def test_an_average_of_other_weights_is_refused() -> None:
    ema = ModelEMA(nn.Linear(2, 2), 0.9)
    state = ema.state_dict()
    for wrong in (
        {},
        {"weight": torch.zeros(2, 2)},
        {**state["average"], "bias": torch.zeros(3)},
        {**state["average"], "x": 1},
    ):
        with pytest.raises(UserError, match="does not fit"):
            ModelEMA(nn.Linear(2, 2), 0.9).load_state_dict({"updates": 3, "average": wrong})


def test_zero_matches_are_an_error_whatever_is_allowed() -> None:
    with pytest.raises(UserError, match="no weight matches"):
        load_weights(nn.Linear(2, 2), {"other": torch.zeros(1)}, allow=["*"])


def test_whole_numbers_are_no_weights() -> None:
    state = {"weight": torch.zeros(2, 2, dtype=torch.int64), "bias": torch.zeros(2, dtype=torch.float16)}
    with pytest.raises(UserError, match=r"1 retyped \(weight\)"):
        load_weights(nn.Linear(2, 2), state)
    assert load_weights(nn.Linear(2, 2), state, allow=["weight"]).matched == ["bias"]


def damage(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes what last.pt holds, as other code would have written it."""
    from engine.checkpoint import CheckpointWriter

    content = torch.load(run / "weights" / "last.pt", weights_only=True)
    change(content)
    CheckpointWriter(run.joinpath("weights")).write("last.pt", content, step=content["progress"]["step"])


def less(content: dict[str, Any]) -> None:
    content["model"]["extra"] = content["model"].pop(next(iter(content["model"])))


def reshape(content: dict[str, Any]) -> None:
    name = next(iter(content["model"]))
    content["model"][name] = content["model"][name][:1]


def retype(content: dict[str, Any]) -> None:
    name = next(iter(content["model"]))
    content["model"][name] = content["model"][name].half()


def swap(content: dict[str, Any]) -> None:
    names = content["optimizer"]["names"][0]
    names[0], names[-1] = names[-1], names[0]


def other_class(content: dict[str, Any]) -> None:
    content["optimizer"]["class"] = "Adam"


def broken_hook(content: dict[str, Any]) -> None:
    content["checkpoints"] = {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (less, "1 missing"), (reshape, "1 of another shape"), (retype, "1 of another type"), (swap, "order changed"),
        (other_class, "the state of Adam, this optimizer is SGD"), (broken_hook, "state of checkpoints does not fit"),
    ],
)  # fmt: skip
def test_a_checkpoint_that_does_not_fit_is_one_line(change: Any, said: str, train: Train, tmp_path: Path) -> None:
    assert train(*TINY, "SOLVER.MAX_EPOCHS", "1")[0] == 0
    run = newest(tmp_path / "exp")
    damage(run, change)
    code, log, _ = train("--resume", run.name, "--epochs", "2")
    assert code == 2 and said in log and "Traceback" not in log, log


def test_a_rate_changed_on_resume_is_said_and_taken(train: Train, tmp_path: Path) -> None:
    assert train(*TINY, "SOLVER.MAX_EPOCHS", "1")[0] == 0
    run = newest(tmp_path / "exp")
    code, log, _ = train("--resume", run.name, "--epochs", "2")
    assert code == 0 and "learning rate follows" not in log
    code, log, _ = train("--resume", run.name, "--epochs", "3", "--learning-rate", "0.5")
    assert code == 0 and "follows the config: 0.5 at this step, where the checkpoint had 0.01" in log, log
    state = torch.load(run / "weights" / "last.pt", weights_only=True)
    assert {group["lr"] for group in state["optimizer"]["param_groups"]} == {0.5}
