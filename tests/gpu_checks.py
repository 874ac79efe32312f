"""Run by one rank under torchrun on a CUDA device: NCCL, and FSDP2 over it. See test_gpu.py."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch.distributed as dist

from engine import sharding
from engine.checkpoint import load_newest
from engine.sharded_checkpoint import ShardedWriter, join
from engine.task import Task
from modeling.losses.cross_entropy import CrossEntropy
from modeling.models.resnet_cifar import resnet20
from solver.optimizer import build_optimizer


def main() -> None:
    """A sum, then steps of the same task whole and sharded, then a checkpoint."""
    device = torch.device("cuda", 0)
    torch.cuda.set_device(device)
    dist.init_process_group("nccl")
    total = torch.ones(3, device=device)
    dist.all_reduce(total)
    assert total.tolist() == [1, 1, 1]
    print("nccl sums")
    states = []
    for sharded in (False, True):
        torch.manual_seed(0)
        task = Task(resnet20(in_channels=3, num_classes=4), CrossEntropy(num_classes=4)).to(device)
        if sharded:
            sharding.shard(task, device)
        groups = [{"params": list(task.parameters()), "lr_factor": 1.0}]
        optimizer = build_optimizer("AdamW", groups, lr=0.001, momentum=0.9, arguments={})
        for step in range(3):
            images = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(step)).to(device)
            batch = {"image": images, "target": torch.arange(8, device=device) % 4}
            task(batch)[1]["loss"].backward()
            optimizer.step()
            optimizer.zero_grad()
        states.append(task.state_dict())
    for name, value in sharding.whole(states[1]).items():
        assert torch.allclose(states[0][name].float(), value.float(), atol=1e-3), name
    with tempfile.TemporaryDirectory() as folder:
        ShardedWriter(Path(folder), device).write("last", {"progress": {"step": 3}, "model": states[1]}, step=3)
        name, content = load_newest(Path(folder)) or ("", {})
        loaded = join(content, Path(folder) / name)["model"]
    assert all(torch.equal(value.cpu(), loaded[key].cpu()) for key, value in sharding.whole(states[1]).items())
    print("nccl shards")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
