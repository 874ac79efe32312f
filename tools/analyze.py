"""Look at data and model before training.

python tools/analyze.py data --config-file configs/x.yml     counts, classes, mean and std, a grid of samples
python tools/analyze.py model --config-file configs/x.yml    layers, parameters, FLOPs
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _root

import config
from utils.errors import UserError
from utils.logger import setup_logger


def main(argv: Sequence[str]) -> int:
    """Runs the command named first."""
    commands = {"data": show_data, "model": show_model}
    if not argv or argv[0] not in commands:
        known = ", ".join(commands)
        raise UserError(f"analyze.py COMMAND --config-file FILE [KEY VALUE ...], with COMMAND one of {known}")
    setup_logger()
    return commands[argv[0]](config.load(config.parse_arguments(list(argv[1:]))))


def show_data(cfg: config.Config) -> int:
    """Counts, class histogram, pixel statistics; a picture of augmented samples in the working directory."""
    from rich.console import Console
    from rich.table import Table

    from data import build_splits
    from data.dataset import class_counts

    splits = build_splits(cfg)
    parts = {name: part for name in ("train", "val", "test") if (part := splits.get(name)) is not None}
    counts = {name: class_counts(part) for name, part in parts.items()}
    console = Console()
    table = Table("class", *parts, title=f"{splits.train.name}: samples", show_footer=False)
    for number, label in enumerate(splits.classes):
        table.add_row(label, *(str(counts[name][number]) for name in parts))
    table.add_section()
    table.add_row("all", *(str(len(part)) for part in parts.values()))
    console.print(table)
    mean, std, seen = pixel_statistics(cfg, splits)
    shown = [", ".join(f"{value:.4f}" for value in values) for values in (mean, std)]
    console.print(f"pixels of {seen} training samples: mean ({shown[0]}), std ({shown[1]}), fractions of full scale")
    console.print(f"normalised with: mean {tuple(splits.train.mean)}, std {tuple(splits.train.std)}")
    path = draw_samples(cfg, splits, Path(f"{cfg.NAME or 'data'}_samples.png"))
    console.print(f"augmented training samples: {path}")
    return 0


def pixel_statistics(cfg: config.Config, splits: Any, most: int = 2000) -> tuple[list[float], list[float], int]:
    """Mean and standard deviation per channel over the first `most` training samples, untransformed."""
    import torch

    sums = torch.zeros(3, splits.train.channels, dtype=torch.float64)
    seen = min(len(splits.train), most)
    for index in range(seen):
        image = splits.train[index]["image"]
        pixels = image.double().flatten(1) / (255 if image.dtype == torch.uint8 else 1)
        sums += torch.stack([torch.full((len(pixels),), pixels.shape[1]), pixels.sum(1), pixels.square().sum(1)])
    mean = sums[1] / sums[0]
    return mean.tolist(), (sums[2] / sums[0] - mean**2).clamp(min=0).sqrt().tolist(), seen


def draw_samples(cfg: config.Config, splits: Any, path: Path) -> Path:
    """The first training batch as the model gets it (before normalising), 8 x 4, with class names."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from data import make_data_loader

    batch = next(iter(make_data_loader(cfg, "train", splits)))
    images, targets = batch["image"][:32], [splits.train.targets[index] for index in batch["index"][:32].tolist()]
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    for number, (image, target) in enumerate(zip(images, targets, strict=True)):
        axes = figure.add_subplot(4, 8, number + 1)
        axes.imshow(image[0] if len(image) == 1 else image[:3].permute(1, 2, 0), cmap="gray", vmin=0, vmax=255)
        axes.set_title(splits.text_of(target) if splits.classes else f"{target:.2f}", fontsize=8)
        axes.set_axis_off()
    figure.savefig(path, dpi=120)
    return path


def show_model(cfg: config.Config) -> int:
    """Each layer with its output and parameters; the sum, and the FLOPs of one sample by torch's own counter."""
    import torch
    from rich.console import Console
    from rich.table import Table
    from torch.utils.flop_counter import FlopCounterMode

    from data import build_splits
    from data.build import image_size
    from engine.build import build_task

    splits = build_splits(cfg)
    model = build_task(cfg, splits).model.eval()
    table = Table("layer", "kind", "output", "parameters", title=cfg.MODEL.NAME)
    table.columns[3].justify = "right"

    def row(name: str) -> Any:
        def add(module: torch.nn.Module, _: Any, output: Any) -> None:
            shape = "x".join(map(str, output.shape[1:])) if isinstance(output, torch.Tensor) else ""
            count = sum(p.numel() for p in module.parameters(recurse=False))
            table.add_row(name, type(module).__name__, shape, f"{count:,}" if count else "")

        return add

    for name, module in model.named_modules():
        if not list(module.children()):
            module.register_forward_hook(row(name))
    sample = torch.zeros(1, splits.train.channels, *image_size(cfg, splits))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(sample)
    count = sum(p.numel() for p in model.parameters())
    console = Console()
    console.print(table)
    console.print(f"{count:,} parameters, {4 * count / 1e6:.2f} MB as fp32; {counter.get_total_flops():,} FLOPs a sample")
    return 0


if __name__ == "__main__":
    _root.run_tool(main)
