"""The blocks of a model: the parts that are repeated, in the order of depth.

A block is the outermost module whose class is called ...Block, ...Bottleneck, ...Residual or ...MBConv: the names that
torchvision, timm and this project give to what is repeated. A class of your own is a block by its name alone.
"""

from __future__ import annotations

import re

from torch import nn

_BLOCK = re.compile(r"(Block(V\d)?|Bottleneck|Residual|MBConv)$", re.IGNORECASE)


def find_blocks(model: nn.Module) -> dict[str, nn.Module]:
    """Name -> block, in the order in which the model defines them; empty where it has none."""
    found: dict[str, nn.Module] = {}
    for name, child in model.named_children():
        if _BLOCK.search(type(child).__name__):
            found[name] = child
        else:
            found |= {f"{name}.{below}": block for below, block in find_blocks(child).items()}
    return found


def layer_depths(model: nn.Module) -> dict[str, int]:
    """Depth of each parameter: 0 before the first block, then the number of its block, at last what follows the blocks.

    What stands between two blocks belongs to the later one. A model without blocks is counted by its layers (modules with
    parameters of their own). The order is that of definition.
    """
    blocks = find_blocks(model)
    units = list(blocks) or [n for n, m in model.named_modules() if n and next(m.parameters(recurse=False), None) is not None]
    after = len(units) + 1 if blocks else len(units)
    number = {name: i + bool(blocks) for i, name in enumerate(units)}
    depths, coming = {}, after
    for name, _ in reversed(list(model.named_parameters())):  # what has no block belongs to the one that follows
        path = name.rpartition(".")[0]
        while path and path not in number:
            path = path.rpartition(".")[0]
        coming = number.get(path, coming)
        depths[name] = coming if path or coming != bool(blocks) else 0
    return depths
