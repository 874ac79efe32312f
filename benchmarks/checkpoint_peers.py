"""How long other libraries let training wait for a checkpoint, over torch.save, in one process each.

Run by `python -m benchmarks.checkpoint --peers`: Lightning's save_checkpoint, and torch's distributed checkpoints in the
background, as they are and with the stager that keeps its memory. All save the model and the optimizer of
benchmarks.checkpoint. Each save is finished before the next begins.

    python -m benchmarks.checkpoint_peers "DCP async" 100 5
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import peers
from benchmarks.checkpoint import make_training
from benchmarks.common import seconds, wait

Training = tuple[nn.Module, torch.optim.Optimizer]
Save = Callable[[Path], Callable[[], Any]]  # saves into a folder; what it gives waits for the disk


def lightning(training: Training) -> Save:
    """A trainer that is attached to the model."""
    import lightning as L

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = training[0]

        def training_step(self, batch: Any, number: int) -> torch.Tensor:
            return next(self.parameters()).sum() * 0

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return training[1]

    trainer = L.Trainer(
        max_steps=1, accelerator="auto", devices=1, logger=False, enable_progress_bar=False, enable_checkpointing=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Module(), [0])

    def save(folder: Path) -> Callable[[], Any]:
        trainer.save_checkpoint(folder / "lightning.ckpt")
        return lambda: None

    return save


def dcp(training: Training, *, cached: bool = False) -> Save:
    """torch.distributed.checkpoint.async_save, in a group of one."""
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    extra = {"async_stager": DefaultStager(StagingOptions(False, True, False, False))} if cached else {}
    count = [0]

    def save(folder: Path) -> Callable[[], Any]:
        count[0] += 1
        asked = dcp.async_save(state_of(training), checkpoint_id=str(folder / f"dcp{count[0] % 2}"), **extra)
        return getattr(asked, "upload_completion", asked).result

    return save


def state_of(training: Training) -> dict[str, Any]:
    """What is saved."""
    return {"model": training[0].state_dict(), "optimizer": training[1].state_dict()}


PEERS: dict[str, Callable[[Training], Save]] = {
    "Lightning save_checkpoint": lightning,
    "DCP async": dcp,
    "DCP async, cached stager": lambda training: dcp(training, cached=True),
}


def measure_all(megabytes: int, rounds: int) -> dict[str, Any]:
    """Each peer's ratio to torch.save, at one size."""
    return peers.measure_each("benchmarks.checkpoint_peers", list(PEERS), [str(megabytes), str(rounds)])


def main() -> None:
    """One peer: one JSON object as the last line."""
    name, megabytes, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    training = make_training(megabytes, device)
    save, ratios = PEERS[name](training), []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        save(folder)()
        for _ in range(rounds):
            waits: list[Callable[[], Any]] = []
            wait(device)
            ours = seconds(lambda waits=waits: waits.append(save(folder)))  # type: ignore[misc]
            waits[0]()
            wait(device)
            ratios.append(ours / seconds(lambda: torch.save(state_of(training), folder / "plain.pt")))
    print(json.dumps({"ratio": statistics.median(ratios), "spread": [min(ratios), max(ratios)]}), flush=True)
    os._exit(0)  # a process group's threads may outlive it


if __name__ == "__main__":
    main()
