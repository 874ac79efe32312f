"""From a bare task to one that is ready to train: device, memory format, compile, data parallelism."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Collection

import torch
from torch import Tensor, nn

from engine import distributed, sharding
from engine.task import Task
from utils.errors import UserError

LOG = logging.getLogger("fieldbook.engine")


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


def check_compiler(device: torch.device) -> None:
    """Compiles something tiny: only trying tells whether a compiler, its headers and (on CUDA) Triton are there.

    Raises:
        UserError: torch.compile does not work here.
    """
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.zeros(8, device=device))
    except Exception as error:  # torch raises many kinds
        said = str(error).strip().splitlines() or [type(error).__name__]
        needed = "Triton" if device.type == "cuda" else "a C++ compiler (such as g++; CXX names another)"
        raise UserError(
            f"MODEL.COMPILE: torch.compile does not work here ({said[0][:200]}); install {needed}, or set MODEL.COMPILE false"
        ) from error


def check_batch_norm(model: nn.Module, sample: Tensor, sizes: Collection[int], *, batch: int) -> None:
    """Batch normalisation cannot train on one value a channel: said before the run, not at the end of its first epoch.

    What a layer sees depends on the model (one image has many pixels, one vector has none to spare), so a copy is tried.

    Args:
        sample: one image, 1 x C x H x W, on the model's device.
        sizes: of the training micro-batches, over all ranks.
        batch: SOLVER.IMS_PER_BATCH, for the message.

    Raises:
        UserError: some training batch has one sample and a layer would refuse it.
    """
    norms = {m: name for name, m in model.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    if 1 not in sizes or not norms or any(isinstance(m, nn.SyncBatchNorm) for m in norms):
        return  # synchronised layers see the samples of all ranks
    refused = _refuses_one(model, sample)
    if refused:
        which = "each training batch has" if set(sizes) <= {0, 1} else "one training batch of an epoch (its tail) has"
        raise UserError(
            f"SOLVER.IMS_PER_BATCH {batch}: {which} one sample per rank and micro-batch, of which batch normalisation "
            f"({refused}) cannot train; set DATALOADER.DROP_LAST true, or change SOLVER.IMS_PER_BATCH or SOLVER.ACCUMULATE"
        )
    if set(sizes) <= {0, 1}:
        LOG.warning("batch normalisation sees one sample at a time: its statistics are those of a single image")


def check_test_size(model: nn.Module, name: str, sample: Tensor, trained: tuple[int, int]) -> None:
    """A model for one size of image, tested on another, would break at the first validation: a copy is tried before the run.

    Args:
        name: MODEL.NAME, for the message.
        sample: one image as validation and test give it, 1 x C x H x W, on the model's device.
        trained: (height, width) of training.

    Raises:
        UserError: the model was built for images of `trained` and takes no others.
    """
    try:
        with torch.no_grad():
            copy.deepcopy(model).eval()(sample)
    except (RuntimeError, ValueError, AssertionError) as error:
        sizes = [" x ".join(map(str, size)) for size in (trained, sample.shape[-2:])]
        raise UserError(
            f"{name} is built for the training images of {sizes[0]} and cannot take those of validation and test, {sizes[1]} "
            f"({' '.join(str(error).split())}); make INPUT.SIZE_TEST and INPUT.TRANSFORMS_TEST give the same size"
        ) from error


def _refuses_one(model: nn.Module, sample: Tensor) -> str:
    """The name of the layer that refuses a single sample in training; "" where none does."""
    seen: list[str] = []
    with torch.random.fork_rng(devices=[sample.device] if sample.device.type == "cuda" else []), torch.no_grad():
        try:
            copied = copy.deepcopy(model).train()
            for name, module in copied.named_modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.register_forward_pre_hook(lambda _, __, name=name: seen.append(name))
            copied(sample)
        except ValueError as error:
            return seen[-1] if seen and "more than 1 value per channel" in str(error) else ""
        except Exception:  # whatever else a model says of such an image is not this check's matter
            return ""
    return ""


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
        strategy: ddp, or fsdp, for a task that `sharding.shard` sharded already.
        find_unused: look in each step for parameters that the loss does not reach (DDP would wait for their gradients).
    """
    if strategy == "fsdp" and sharding.is_sharded(task):
        sharding.refresh_gradients(task)
        return task
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
    # A module of its own: the task itself, which validation and tools/test_net.py use alike, stays as it is.
    return torch.compile(wrapped) if compile else wrapped  # type: ignore[return-value]
