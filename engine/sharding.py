"""DISTRIBUTED.STRATEGY fsdp: each rank keeps its part of every weight, gradient and moment (FSDP2; Zhao et al., PyTorch FSDP,
VLDB 2023, after Rajbhandari et al., ZeRO, 2020).

What is sharded together is a *unit*: each block of the model (modeling/blocks.py), and the task with all that no block
holds. A unit is gathered whole just before it is used and given up after it. A weight is cut along its first dimension, so a
rank has about 1/ranks of it; buffers (statistics of batch normalisation) are whole on every rank.

torch's sharded tensors (DTensor) are imported only where there are some: their import takes a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from engine import distributed
from engine.task import Task
from solver import NamedOptimizer, WeightAverage
from utils.errors import UserError
from utils.states import local

# Those of torch.optim whose arithmetic on sharded weights was compared with that on whole ones. The rest works on whole
# matrices or by indices, which torch cannot do with parts, or not without saying something else.
OPTIMIZERS = ("SGD", "Adam", "AdamW", "Adagrad", "Adadelta", "Adamax", "ASGD", "NAdam", "RAdam", "RMSprop")


def check_shardable(task: Task, optimizer: str) -> None:
    """What torch cannot shard, said before there is a run.

    Raises:
        UserError: an optimizer that needs whole matrices, a weight that two modules share, one without dimensions, or a torch
            that is too old.
    """
    if optimizer not in OPTIMIZERS:
        raise UserError(
            f"SOLVER.OPTIMIZER_NAME {optimizer} does not work on sharded weights; take one of {', '.join(OPTIMIZERS)}, or "
            "DISTRIBUTED.STRATEGY ddp"
        )
    seen: dict[int, str] = {}
    for name, parameter in task.named_parameters(remove_duplicate=False):
        if id(parameter) in seen:
            raise UserError(
                f"DISTRIBUTED.STRATEGY fsdp cannot shard {name}, which is one and the same as {seen[id(parameter)]}; take ddp"
            )
        seen[id(parameter)] = name
        if parameter.ndim == 0:
            raise UserError(
                f"DISTRIBUTED.STRATEGY fsdp cannot shard {name}, a single number without dimensions; give it the shape [1], "
                "or take ddp"
            )
    try:
        import safetensors  # noqa: F401  the format of sharded checkpoints
        from torch.distributed.checkpoint import HuggingFaceStorageReader  # noqa: F401
        from torch.distributed.fsdp import fully_shard  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"DISTRIBUTED.STRATEGY fsdp needs torch 2.8 and safetensors ({error}); pip install safetensors"
        ) from error


def shard(task: Task, device: torch.device, precision: str = "fp32") -> None:
    """Shards `task` in place. Its parameters are new objects then: the optimizer is made after this.

    Args:
        device: of the parts; a task that is on the CPU yet is moved there unit by unit, and never whole.
        precision: bf16 gathers weights and computes in bfloat16, but for batch normalisation, whose statistics are float32;
            the weights that are kept, and the sums of gradients over ranks, are float32 in any case.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    from modeling.blocks import find_blocks  # a run that is resumed with its own code need not import that of today

    mesh = init_device_mesh(device.type, (distributed.world_size(),))
    exact = MixedPrecisionPolicy()
    policy = exact
    if precision == "bf16":  # autocast casts what goes into a layer
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
        exact = MixedPrecisionPolicy(cast_forward_inputs=False)
        for module in task.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
                fully_shard(module, mesh=mesh, mp_policy=exact, reshard_after_forward=True)
    for block in find_blocks(task.model).values():
        fully_shard(block, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
    fully_shard(task, mesh=mesh, mp_policy=policy, reshard_after_forward=False)  # backward needs the last layers at once
    if next(task.buffers(), None) is not None:
        task.register_forward_pre_hook(_share_buffers)


def is_sharded(module: nn.Module) -> bool:
    """Whether `shard` was here."""
    return hasattr(module, "set_requires_gradient_sync")


def describe(task: nn.Module) -> str:
    """For the run card: how many units, and what this rank keeps."""
    own, whole = (sum(size(p) for p in task.parameters()) for size in (lambda p: local(p).numel(), Tensor.numel))
    units = len(_units(task))
    return f"fsdp, {units} unit{'s' if units > 1 else ''}; this rank keeps {own:,} of {whole:,} parameters"


def refresh_gradients(task: nn.Module) -> None:
    """After a change of what trains: the gathered weights that FSDP keeps learn of it, too."""
    trains = {name: parameter.requires_grad for name, parameter in task.named_parameters()}
    for unit in _units(task):
        unit.unshard()
    for name, parameter in task.named_parameters():
        parameter.requires_grad_(trains[name])
    for unit in _units(task):
        unit.reshard()


def keep_gradients(wrapped: Any, more: bool) -> AbstractContextManager[Any]:
    """Around a forward and backward: gradients travel between ranks once a step, with the window's last batch.

    Args:
        wrapped: what is called, under DDP or sharded.
        more: whether batches of the same step follow.
    """
    if is_sharded(wrapped):
        wrapped.set_requires_gradient_sync(not more)
    elif more and distributed.world_size() > 1:
        return wrapped.no_sync()
    return nullcontext()


@contextmanager
def gathered(task: nn.Module) -> Iterator[None]:
    """Within, all weights are whole on every rank, so that ranks may evaluate different numbers of batches: no rank waits
    for the others in a forward. Where nothing is sharded, nothing happens."""
    units = _units(task)
    for unit in units:
        unit.set_reshard_after_forward(False, recurse=False)
        unit.unshard()
    try:
        yield
    finally:
        for unit in units:
            unit.reshard()
            unit.set_reshard_after_forward(unit is not task, recurse=False)


def is_cut(value: Any) -> bool:
    """Whether it is a sharded tensor, of which each rank keeps a part."""
    return hasattr(value, "full_tensor")


def whole(value: Any) -> Any:
    """Nested state with every sharded tensor gathered. All ranks must call this."""
    if isinstance(value, dict):
        return {key: whole(part) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(whole(part) for part in value)
    return value.detach().full_tensor() if is_cut(value) else value


def lay_out(saved: Any, own: Any) -> Any:
    """Nested `saved` state with each whole tensor cut as the tensor at its place in `own` is; no message is sent.

    So any checkpoint fits: of one rank, of DDP, of another number of ranks.
    """
    if isinstance(saved, dict) and isinstance(own, dict):
        return {key: lay_out(part, own[key]) if key in own else part for key, part in saved.items()}
    if not is_cut(own) or not isinstance(saved, Tensor):
        return saved
    if is_cut(saved) or saved.shape != own.shape:  # what does not fit is said elsewhere
        return saved
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(saved.to(own.device), own.device_mesh, own.placements, src_data_rank=None)


def fit(saved: Any, part: Any) -> Any:
    """The saved state of `part` laid out as its own tensors are, the moments of an optimizer as its parameters are."""
    if isinstance(part, nn.Module | WeightAverage):
        return lay_out(saved, part.state_dict())
    if isinstance(part, NamedOptimizer):
        parameters = [p for group in part.optimizer.param_groups for p in group["params"]]
        own = {i: dict.fromkeys(saved["state"].get(i, ()), parameter) for i, parameter in enumerate(parameters)}
        return {**saved, "state": lay_out(saved["state"], own)}
    return saved


def _units(task: nn.Module) -> list[Any]:
    return [module for module in task.modules() if is_sharded(module)]


def _share_buffers(task: nn.Module, _: Any) -> None:
    """As DDP does: in training every rank has rank 0's."""
    if task.training:
        distributed.share_buffers(task)
