"""Run by two ranks under torchrun: sharded training beside the same with whole weights. See test_sharded_ranks.py."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor, nn

from engine import distributed, sharding
from engine.meters import ExactMeans
from engine.numbers import Guard
from engine.prepare import prepare_model
from engine.task import Task
from modeling.losses.cross_entropy import CrossEntropy
from modeling.models.resnet_cifar import resnet20
from solver import ModelEMA, NamedOptimizer
from solver.optimizer import build_optimizer
from utils.states import local

CPU = torch.device("cpu")


class OddBlock(nn.Module):
    """Sizes that two ranks cannot share evenly: one of them has no part of the last weight."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(width, 7), nn.LayerNorm(7), nn.Linear(7, width)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """x: B x width."""
        return x + self.scale * self.last(torch.tanh(self.norm(self.first(x))))


def make_task(sharded: bool, precision: str = "fp32") -> Task:
    """The same task each time, sharded or not."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), OddBlock(5), OddBlock(5), nn.Linear(5, 3))
    task = Task(model, CrossEntropy(num_classes=3))
    if sharded:
        sharding.shard(task, CPU, precision)
    return task


def batch(count: int = 6, shift: int = 0) -> dict[str, Tensor]:
    """A batch of this rank."""
    generator = torch.Generator().manual_seed(100 * shift + distributed.rank())
    images = torch.randn(count, 3, 2, 2, generator=generator)
    return {"image": images, "target": torch.arange(count) % 3, "index": torch.arange(count)}


def gradient(parameter: nn.Parameter) -> Tensor:
    """It has one."""
    assert parameter.grad is not None
    return parameter.grad


def first(task: Task) -> nn.Linear:
    """The layer before the blocks."""
    layer = task.model.get_submodule("1")
    assert isinstance(layer, nn.Linear)
    return layer


def groups(task: Task) -> list[dict[str, object]]:
    """One group of all that trains."""
    return [{"params": [p for p in task.parameters() if p.requires_grad], "lr_factor": 1.0, "weight_decay": 0.01}]


def train(task: Task, name: str, steps: int = 3, change: Callable[[list[nn.Parameter]], object] | None = None) -> ModelEMA:
    """Steps on the mean loss over ranks, sharded or, without DDP, by hand."""
    optimizer = build_optimizer(name, groups(task), lr=0.05, momentum=0.9, arguments={})
    average = ModelEMA(task, 0.9)
    parameters = list(task.parameters())
    for step in range(steps):
        task(batch(shift=step))[1]["loss"].backward()
        if not sharding.is_sharded(task):
            for parameter in parameters:
                if parameter.grad is not None:
                    distributed.all_reduce_sum(parameter.grad).div_(2)
        if change is not None:
            change(parameters)
        optimizer.step()
        average.update()
        for parameter in parameters:
            parameter.grad = None
    return average


def assert_alike(one: Task | ModelEMA, other: Task | ModelEMA, what: str, tolerance: float = 1e-6) -> None:
    """Equal weights, within float32 sums in another order."""
    a, b = one.state_dict(), sharding.whole(other.state_dict())
    a, b = a.get("average", a), b.get("average", b)
    worst = max(float((a[name] - b[name]).abs().max()) for name in a)
    assert a.keys() == b.keys() and worst <= tolerance, f"{what}: {worst}"


def check_memory() -> None:
    """A rank keeps about half of the weights, of the gradients and of the moments."""
    task = Task(resnet20(in_channels=3, num_classes=10), CrossEntropy(num_classes=10))
    total = sum(p.numel() for p in task.parameters())
    sharding.shard(task, CPU)
    own = sum(local(p).untyped_storage().nbytes() for p in task.parameters())
    assert 0.45 * 4 * total <= own <= 0.6 * 4 * total, (own, total)
    assert "10 units" in sharding.describe(task), sharding.describe(task)
    with sharding.gathered(task):  # before any forward, as where a run that goes on validates first
        assert sum(p.numel() for p in task.parameters()) == total and not hasattr(next(task.parameters()), "full_tensor")
    assert sum(local(p).numel() for p in task.parameters()) * 4 <= own


def check_optimizers() -> None:
    """Each optimizer, with averages, clipping by norm and by value."""
    for name in sharding.OPTIMIZERS:
        one, other = make_task(False), make_task(True)
        assert_alike(train(one, name), train(other, name), f"average, {name}")
        assert_alike(one, other, name)
    for change in (
        lambda ps: nn.utils.clip_grad_norm_(ps, 0.05),
        lambda ps: nn.utils.clip_grad_value_(ps, 0.01),
    ):
        one, other = make_task(False), make_task(True)
        train(one, "SGD", change=change), train(other, "SGD", change=change)
        assert_alike(one, other, "clipped")
    norms: list[list[float]] = [[], []]
    for sharded in (False, True):
        note = lambda ps, seen=norms[sharded]: seen.append(float(sharding.whole(nn.utils.get_total_norm([p.grad for p in ps]))))  # noqa: E731
        train(make_task(sharded), "AdamW", change=note)
    assert torch.allclose(torch.tensor(norms[0]), torch.tensor(norms[1])), norms


def check_bf16() -> None:
    """Gathered in bfloat16, kept in float32; batch normalisation stays in float32."""
    torch.manual_seed(0)
    task = Task(resnet20(in_channels=3, num_classes=3), CrossEntropy(num_classes=3))
    plain = copy.deepcopy(task)
    sharding.shard(task, CPU, "bf16")
    losses = []
    for each in (plain, task):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = each({**batch(8), "image": torch.ones(8, 3, 8, 8).mul_(torch.arange(8).view(8, 1, 1, 1) / 8)})[1]["loss"]
        loss.backward()
        losses.append(loss.item())
    assert abs(losses[0] - losses[1]) < 0.02, losses
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in task.parameters() if p.grad is not None)
    for a, b in zip(plain.parameters(), task.parameters(), strict=True):
        one, other = gradient(a), sharding.whole(gradient(b))
        distributed.all_reduce_sum(one).div_(2)
        assert (one - other).norm() <= 0.1 * one.norm() + 1e-3


def check_guard() -> None:
    """What is not finite in one rank's part of a gradient is known to both."""
    task = make_task(True)
    optimizer = build_optimizer("SGD", groups(task), lr=0.05, momentum=0.9, arguments={})
    guard = Guard(task, optimizer, CPU, sharded=True)
    task(batch())[1]["loss"].backward()
    gradients = [gradient(p) for p in task.parameters()]
    assert not guard.finds([], gradients)
    if distributed.rank() == 1:
        local(gradients[0]).view(-1)[0] = float("nan")
    assert guard.finds([], gradients) and not guard.finds([], gradients[1:])


def check_uneven_evaluation() -> None:
    """Ranks that have different numbers of batches do not wait for each other."""
    task, means = make_task(True).eval(), ExactMeans(CPU)
    with torch.no_grad(), sharding.gathered(task):
        for _ in range(1 + 2 * distributed.rank()):
            means.add(task(batch())[1], 6)
    assert means.read()
    task.train()
    train(task, "SGD", steps=1)  # and training goes on


def check_thawing() -> None:
    """What was frozen trains once it is told to; prepare_model is what ThawHook calls."""
    one, other = make_task(False), make_task(True)
    for task in (one, other):
        first(task).requires_grad_(False)
        train(task, "SGD", steps=2)
        first(task).requires_grad_(True)
        prepare_model(task, CPU, strategy="fsdp") if task is other else None
        train(task, "SGD", steps=2)
    assert_alike(one, other, "thawed")
    assert not torch.equal(first(one).weight, first(make_task(False)).weight)


def check_layouts() -> None:
    """Whole state goes into a sharded task and its optimizer, and comes out the same."""
    one, other = make_task(False), make_task(True)
    optimizers = []
    for task in (one, other):
        optimizer = build_optimizer("AdamW", groups(task), lr=0.05, momentum=0.9, arguments={})
        optimizers.append(NamedOptimizer(optimizer, task))
    one(batch())[1]["loss"].backward()
    for parameter in one.parameters():
        distributed.all_reduce_sum(gradient(parameter))
    optimizers[0].optimizer.step()
    for part, saved in ((other, one.state_dict()), (optimizers[1], optimizers[0].state_dict())):
        part.load_state_dict(sharding.fit(saved, part))
    assert_alike(one, other, "weights", 0.0)
    whole, given = sharding.whole(optimizers[1].state_dict()), optimizers[0].state_dict()
    for number, moments in given["state"].items():
        assert all(torch.equal(whole["state"][number][name], value) for name, value in moments.items())
    own = optimizers[1].state_dict()["state"][0]["exp_avg"]
    assert own.to_local().numel() < own.numel()


def main() -> None:
    """All checks; each says when it is done."""
    with distributed.session(CPU, 60):
        for name, check in list(globals().items()):
            if name.startswith("check_"):
                check()
                if distributed.is_main():
                    print(name, flush=True)


if __name__ == "__main__":
    main()
