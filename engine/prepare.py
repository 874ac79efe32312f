"""From a bare task to one that is ready to train: device, memory format, compile, data parallelism."""

from __future__ import annotations

import os

import torch
from torch import nn

from engine import distributed
from engine.task import Task
from utils.errors import UserError


def choose_device(name: str) -> torch.device:
    """The device called `name`; "auto" is cuda, mps or cpu, whichever is there.

    Raises:
        UserError: the device is not known to torch or not present on this machine.
    """
    if name == "auto":
        present = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return _local(torch.device(present))
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"MODEL.DEVICE: {name!r} is no device; take auto, cpu, cuda, cuda:1 or mps") from error
    count = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    if device.type not in count:
        raise UserError(f"MODEL.DEVICE: {name!r} is not supported; take auto, cpu, cuda, cuda:1 or mps")
    if count[device.type] == 0 or (device.type == "cuda" and (device.index or 0) >= count["cuda"]):
        raise UserError(
            f"MODEL.DEVICE: {name!r} is not on this machine ({count['cuda']} CUDA devices found); "
            "take --device auto or --device cpu"
        )
    return _local(device)


def _local(device: torch.device) -> torch.device:
    """Under torchrun each process takes the GPU of its own number on this host."""
    if device.type == "cuda" and device.index is None and distributed.launched_ranks() > 1:
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return device


def prepare_model(
    task: Task,
    device: torch.device,
    *,
    channels_last: bool = False,
    compile: bool = False,
    strategy: str = "ddp",
    sync_batchnorm: bool = False,
    find_unused: bool = False,
) -> nn.Module:
    """Moves `task` to the device and wraps it; the result is called as the task is.

    The task itself is changed in place, its parameters stay the same objects: optimizer and checkpoints keep using it.

    Args:
        sync_batchnorm: batch normalisation by the statistics of all ranks (CUDA only).
        find_unused: look in each step for parameters that the loss does not reach (DDP would wait for their gradients).
    """
    task.to(device)
    if channels_last:
        task.model.to(memory_format=torch.channels_last)
    wrapped: nn.Module = task
    if distributed.world_size() > 1 and strategy == "ddp":
        if sync_batchnorm:
            task.model = nn.SyncBatchNorm.convert_sync_batchnorm(task.model)
        wrapped = nn.parallel.DistributedDataParallel(
            task,
            device_ids=[device.index] if device.type == "cuda" else None,
            find_unused_parameters=find_unused,
            gradient_as_bucket_view=True,
        )
    if compile:
        wrapped.compile()
    return wrapped
