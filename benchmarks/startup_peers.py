"""The shortest script with each other library that makes one optimizer step; run by `python -m benchmarks.startup --peers`."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from benchmarks import peers

HEAD = """
import torch
model = torch.nn.Linear(784, 10)
images, targets = torch.randn(64, 784), torch.randint(0, 10, (64,))
loss_of = torch.nn.functional.cross_entropy
"""
SCRIPTS = {
    "ignite": """
from ignite.engine import Engine
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
def step(engine, batch):
    loss_of(model(batch[0]), batch[1]).backward()
    optimizer.step()
Engine(step).run([(images, targets)], max_epochs=1)
print("step 1/1", flush=True)
""",
    "timm style": """
import timm
from timm.optim import create_optimizer_v2
optimizer = create_optimizer_v2(model, "sgd", lr=0.1, momentum=0.9)
loss_of(model(images), targets).backward()
optimizer.step()
print("step 1/1", flush=True)
""",
    "accelerate": """
from accelerate import Accelerator
accelerator = Accelerator(cpu=True)
model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
accelerator.backward(loss_of(model(images), targets))
optimizer.step()
print("step 1/1", flush=True)
""",
    "Lightning": """
import lightning as L
class Module(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = model
    def training_step(self, batch, number):
        return loss_of(self.model(batch[0]), batch[1])
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
    def on_train_batch_end(self, *rest):
        print("step 1/1", flush=True)
batches = torch.utils.data.DataLoader([(images, targets)], batch_size=None)
L.Trainer(max_steps=1, accelerator="cpu", barebones=True).fit(Module(), batches)
""",
}


def measure_all(first_step: Callable[[list[str]], float], shortest: list[str], rounds: int) -> dict[str, Any]:
    """Each library's script over the shortest one, in turns."""
    found: dict[str, Any] = {}
    for name, script in SCRIPTS.items():
        version = peers.version(name)
        if not version:
            found[name] = {"missing": "not installed"}
            continue
        words = ["-W", "ignore", "-c", HEAD + script]
        try:
            first_step(words)
            ratios = [first_step(words) / first_step(shortest) for _ in range(rounds)]
        except RuntimeError as error:
            found[name] = {"version": version, "missing": f"failed: {(str(error).strip().splitlines() or ['?'])[-1][:200]}"}
            continue
        found[name] = {"version": version, "ratio": statistics.median(ratios), "spread": [min(ratios), max(ratios)]}
    return found
