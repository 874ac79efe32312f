"""Activation checkpointing (Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from modeling.blocks import find_blocks
from utils.errors import UserError


def checkpoint_blocks(model: nn.Module, name: str) -> None:
    """Makes each block of `model` keep its input alone, and compute again in the backward pass what lies within.

    The weights of a training are the same to the last bit as without, and so are the names in the state dict: random
    draws are repeated, and batch normalisation counts a batch once.

    Raises:
        UserError: the model, called `name` in the config, has no blocks.
    """
    blocks = find_blocks(model)
    if not blocks:
        raise UserError(
            f"MODEL.ACTIVATION_CHECKPOINTING: {name} has no blocks to checkpoint; a block is a module whose class is called "
            "...Block, ...Bottleneck, ...Residual or ...MBConv"
        )
    for block in blocks.values():
        # A bound method, not a closure: a deep copy of the model then recomputes its own blocks, not these.
        block.forward = MethodType(_recomputed, block)


def _recomputed(block: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """What a block's forward becomes: its activations are computed again where the backward pass needs them."""
    forward = partial(type(block).forward, block)
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_aside(block)

    # torch.compile turns what the forward pass changes into outputs of it: there nothing is counted twice, and contexts
    # of Python's are refused.
    more: dict[str, Any] = {} if torch.compiler.is_compiling() else {"context_fn": contexts}
    return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=True, **more, **kwargs)


@contextmanager
def _statistics_aside(block: nn.Module) -> Iterator[None]:
    """Within, batch normalisation moves copies of its statistics: the first computation has moved the real ones."""
    norms = [m for m in block.modules() if isinstance(m, nn.modules.batchnorm._NormBase) and m.training]
    kept = [dict(norm._buffers) for norm in norms]
    for norm in norms:
        norm._buffers.update({name: None if value is None else value.clone() for name, value in norm._buffers.items()})
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            norm._buffers.update(buffers)
