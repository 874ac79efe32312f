"""A NaN or infinite loss or gradient: the optimizer does not step, and what happened can be made again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, command, newest, read_json
from torch import Tensor, nn

from engine.numbers import Guard
from modeling.losses import LOSSES

Train = Callable[..., tuple[int, str, str]]
ROTTEN = 37  # the sample that spoils its batch
STRIKES = {"left": 0}


@LOSSES.register("rotten")
class Rotten(nn.Module):
    """Cross entropy, but for the batch of one sample: a finite loss whose gradient is NaN, or an infinite loss."""

    def forward(self, outputs: Tensor, batch: dict[str, Any]) -> dict[str, Tensor]:
        loss = nn.functional.cross_entropy(outputs, batch["target"])
        if outputs.requires_grad and STRIKES["left"] and ROTTEN in batch["index"]:
            STRIKES["left"] -= 1
            loss = loss + (outputs * 0).sum().abs().sqrt()  # 0, and 0 * infinity backward
        return {"loss": loss}


@LOSSES.register("endless")
class Endless(Rotten):
    """An infinite loss whose gradients are finite."""

    def forward(self, outputs: Tensor, batch: dict[str, Any]) -> dict[str, Tensor]:
        loss = nn.functional.cross_entropy(outputs, batch["target"])
        return {"loss": loss + (torch.inf if outputs.requires_grad and ROTTEN in batch["index"] else 0)}


@pytest.fixture(autouse=True)
def strikes() -> Iterator[None]:
    """Every time, unless a test says otherwise."""
    STRIKES["left"] = 10**9
    yield
    STRIKES["left"] = 0


def rotten(*words: str, loss: str = "rotten") -> list[str]:
    """A tiny run with batch normalisation, dropout, accumulation and a rotten sample that no validation holds out."""
    return [
        *TINY, "DATASETS.VAL", "synthetic:40x1x8x8x4", "MODEL.NAME", "example_model", "LOSS.NAME", loss,
        "SOLVER.ACCUMULATE", "2", "MODEL.DROP_PATH", "0.2", *words,
    ]  # fmt: skip


def weights(run: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(run / "weights" / name, weights_only=True)
    return content["model"]


def record(run: Path) -> dict[str, Any]:
    """The first record of the run's crash/."""
    first: dict[str, Any] = read_json(min((run / "crash").glob("step_*.json")))
    return first


@pytest.mark.parametrize("loss", ["rotten", "endless"])
def test_stop_ends_the_run_with_the_weights_before_the_step(loss: str, train: Train, tmp_path: Path) -> None:
    code, log, _ = train(*rotten(loss=loss))
    assert code == 1 and "not finite at step" in log and "tools/replay.py" in log and "Traceback" not in log
    run = newest(tmp_path / "exp")
    found = record(run)
    assert ROTTEN in sum(sum(found["samples"], []), [])
    kept = torch.load(run / "crash" / "state.pt", weights_only=True)
    assert kept["progress"]["step"] == found["step"] < 6
    # The same run, stopped by its length just before that step, has those very weights and statistics.
    if found["step"]:
        assert train(*rotten("SOLVER.MAX_STEPS", str(found["step"]), loss=loss))[0] == 0
        before = weights(newest(tmp_path / "exp"), "last.pt")
        assert all(torch.equal(value, kept["model"][name]) for name, value in before.items())
    assert all(bool(torch.isfinite(value).all()) for value in kept["model"].values())


def test_skip_leaves_the_step_out_and_a_limit_ends_it(train: Train, tmp_path: Path) -> None:
    code, log, _ = train(*rotten("SOLVER.NONFINITE", "skip"))
    assert code == 0 and log.count("is left out") == 3  # once an epoch
    run = newest(tmp_path / "exp")
    last = torch.load(run / "weights" / "last.pt", weights_only=True)
    assert last["nonfinite"]["skipped"] == 3 and last["progress"]["step"] == 18
    assert all(bool(torch.isfinite(v).all()) for v in last["model"].values() if v.is_floating_point())
    assert len(list((run / "crash").glob("step_*.json"))) == 3
    code, log, _ = train(*TINY, "SOLVER.NONFINITE", "skip", "SOLVER.BASE_LR", "1e6", "SOLVER.NONFINITE_LIMIT", "2")
    assert code == 1 and "after 2 times SOLVER.NONFINITE skip" in log


def test_rollback_goes_back_with_a_smaller_rate(train: Train, tmp_path: Path) -> None:
    STRIKES["left"] = 1
    code, log, _ = train(*rotten("SOLVER.NONFINITE", "rollback", "SOLVER.ROLLBACK_FACTOR", "0.1", "SOLVER.LOG_PERIOD", "1"))
    assert code == 0 and log.count("rollback 1 of 3") == 1
    rows = [json.loads(line) for line in (newest(tmp_path / "exp") / "metrics.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in rows if "train/loss" in row]
    assert steps == list(range(1, 19))  # no row twice, none missing
    assert [row["lr"] for row in rows if "lr" in row][-1] == pytest.approx(0.001)
    code, log, _ = train(*rotten("SOLVER.NONFINITE", "rollback", "SOLVER.NONFINITE_LIMIT", "1"))
    assert code == 0  # no further strikes
    STRIKES["left"] = 10**9
    code, log, _ = train(*rotten("SOLVER.NONFINITE", "rollback", "SOLVER.NONFINITE_LIMIT", "2"))
    assert code == 1 and "rollback 2 of 2" in log and "after 2 times SOLVER.NONFINITE rollback" in log


def test_replay_makes_exactly_that_step_again(train: Train, tmp_path: Path) -> None:
    import replay

    assert train(*rotten())[0] == 1
    run = newest(tmp_path / "exp")
    files = {p: p.stat().st_mtime_ns for p in run.rglob("*")}
    code, log, out = train(run.name, "--json", main=replay.main)
    assert code == 0, log
    shown = json.loads(out)
    assert shown["step"] == record(run)["step"] and shown["again"] and shown["gradients"] and not shown["module"]
    assert any(path.endswith(f"[{ROTTEN}]") for path in shown["paths"])
    code, log, out = train(run.name, "--anomaly", "--device", "cpu", main=replay.main)
    assert code == 0 and "nan values" in out and Path(__file__).name in out, out
    assert files == {p: p.stat().st_mtime_ns for p in run.rglob("*")}
    STRIKES["left"] = 0
    code, _, out = train(run.name, main=replay.main)
    assert code == 1 and "everything is finite" in out


def test_replay_of_a_run_where_nothing_went_wrong_is_one_line(train: Train, tmp_path: Path) -> None:
    import replay

    assert train(*TINY)[0] == 0
    code, log, _ = train("last", main=replay.main)
    assert code == 2 and log.count("\n") == 1 and "nothing to replay" in log
    assert train("no-such-run", main=replay.main)[0] == 2


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
def test_a_device_leaves_the_step_out_without_being_waited_for(kind: str) -> None:
    # The fused optimizers honour `found_inf` on a CPU too, which so stands in for a device here.
    model = nn.Linear(3, 2)
    optimizer = getattr(torch.optim, kind)(model.parameters(), lr=0.1, fused=True)
    guard = Guard(model, optimizer, torch.device("cpu"), late=True)
    seen = []
    for step in range(6):
        guard.begin(0, step, step, [torch.tensor([step])])
        loss = model(torch.full((4, 3), torch.nan if step == 3 else 1.0)).sum()
        guard.weigh(loss, 1.0).backward()
        assert not guard.finds([loss], [p.grad for p in model.parameters() if p.grad is not None])
        optimizer.step()
        optimizer.zero_grad()
        seen.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for later in seen[3:] for a, b in zip(later, seen[2], strict=True))
    assert not torch.equal(seen[2][0], seen[1][0])
    bad = guard.look()
    assert bad is not None and bad.step == 3 and bad.indices == [[3]]
    assert guard.look() is None


def test_a_nan_never_becomes_the_best_score(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.hooks.evaluation import EvaluationHook

    original, calls = EvaluationHook.__init__, []

    def patched(self: EvaluationHook, evaluate: Any, *rest: Any, **words: Any) -> None:
        def second_is_nan() -> dict[str, float]:
            scores = evaluate()
            calls.append(1)
            return {name: float("nan") for name in scores} if len(calls) == 2 else scores

        original(self, second_is_nan, *rest, **words)

    monkeypatch.setattr(EvaluationHook, "__init__", patched)
    assert train(*TINY)[0] == 0
    run = newest(tmp_path / "exp")
    last = torch.load(run / "weights" / "last.pt", weights_only=True)
    assert len(calls) == 3 and last["checkpoints"]["best"] == last["checkpoints"]["best"]


@pytest.mark.slow
def test_ranks_find_it_together_and_go_back_together(tmp_path: Path) -> None:
    words = [*TINY, "MODEL.HIDDEN", "(64,64,64,64)", "--learning-rate", "1e6", "--output-dir", str(tmp_path / "exp")]
    ranks = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = command(*ranks, "tools/train_net.py", *words)
    assert done.returncode == 1 and "not finite at step" in done.stderr
    run = newest(tmp_path / "exp")
    assert [len(sum(samples, [])) for samples in record(run)["samples"]] == [8, 8]
    alone = command("tools/replay.py", run.name, "--output-dir", str(tmp_path / "exp"))
    assert alone.returncode == 2 and "torchrun --nproc-per-node 2" in alone.stderr
    again = command(*ranks, "tools/replay.py", run.name, "--output-dir", str(tmp_path / "exp"))
    assert again.returncode == 0 and "not finite again" in again.stdout
    done = command(*ranks, "tools/train_net.py", *words, "SOLVER.NONFINITE", "rollback", "SOLVER.ROLLBACK_FACTOR", "1e-8")
    assert done.returncode == 0 and "rollback 1 of 3" in done.stderr


def test_a_loss_scaler_that_only_leaves_steps_out_ends_the_run(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import engine.build

    monkeypatch.setattr(engine.build, "check_precision", lambda cfg, device: None)  # fp16 on a CPU: slow, and the same to us
    words = [*TINY, "LOSS.NAME", "rotten", "SOLVER.PRECISION", "fp16", "SOLVER.MAX_EPOCHS", "40"]
    monkeypatch.setattr(Rotten, "forward", lambda self, outputs, batch: {"loss": (outputs * 0).sum().abs().sqrt()})
    code, log, _ = train(*words)
    assert code == 1 and "not finite at or some steps before" in log and "tools/replay.py" not in log
    monkeypatch.undo()
    monkeypatch.setattr(engine.build, "check_precision", lambda cfg, device: None)
    code, log, _ = train(*rotten("SOLVER.PRECISION", "fp16", "SOLVER.NONFINITE", "skip", loss="endless"))
    assert code == 0 and log.count("is left out") == 3, log


def test_a_rollback_at_an_epochs_end_goes_on(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.trainer import Trainer

    original = Trainer.read_losses
    told: list[int] = []

    def read_losses(self: Trainer) -> dict[str, float]:
        values = original(self)
        if self.step == 12 and self.step_in_epoch == 0 and not told:
            told.append(1)
            self._not_finite(self.guard.newest, spoilt=True)
        return values

    monkeypatch.setattr(Trainer, "read_losses", read_losses)
    STRIKES["left"] = 0
    code, log, _ = train(*rotten("SOLVER.NONFINITE", "rollback", "SOLVER.EARLY_STOP", "9"))
    assert code == 0 and "back to step 6" in log and told, log
    run = newest(tmp_path / "exp")
    last = torch.load(run / "weights" / "last.pt", weights_only=True)
    assert last["progress"]["step"] == 18 and last["nonfinite"]["rollbacks"] == 1


def test_a_train_step_of_another_kind_is_stopped_by_its_losses(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.trainer import Trainer

    def train_step(self: Trainer, window: Any) -> None:
        self.meter.add({"loss": torch.tensor(torch.nan)}, 16)

    monkeypatch.setattr(Trainer, "train_step", train_step)
    code, log, _ = train(*TINY)
    assert code == 1 and "not finite" in log and "IndexError" not in log
