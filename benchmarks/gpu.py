"""What a GPU gains: the data path on the device, copies beside the computing, bf16, channels_last, torch.compile.

    python -m benchmarks.gpu [--json] [--rounds 5]

Made images of 32 x 32 x 3, pad-crop and flip, resnet9, 512 a step. All ways take turns of a second. `ratio` is a step of the
fastest way, from drawing the crops to the optimizer, over a step of a bare loop on one batch that lies ready on the device.
Where there is no CUDA device, that is said in one line (exit code 2).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

import config
from benchmarks.common import arguments, cuda_or_end, ratio, show, spread, wait
from data import build_splits
from engine.analysis.build import build_bench
from engine.analysis.turns import Bench, Turn, Work, take_turns

DATA = {"DATASETS.VAL_FRACTION": "0", "DATALOADER.DROP_LAST": "true", "MODEL.MATMUL_PRECISION": "highest"}
IMAGES = {
    **DATA, "DATASETS.TRAIN": "synthetic:20480x3x32x32x10", "INPUT.TRANSFORMS_TRAIN": "[PadCrop, RandomHorizontalFlip]",
    "MODEL.NAME": "resnet9", "SOLVER.IMS_PER_BATCH": "512",
}  # fmt: skip
BF16 = {**IMAGES, "SOLVER.PRECISION": "bf16"}
LAST = {**BF16, "MODEL.CHANNELS_LAST": "true"}
WAYS = {
    "fp32": IMAGES,
    "bf16": BF16,
    "channels_last": LAST,
    "compiled": {**LAST, "MODEL.COMPILE": "true"},
    "host": {**LAST, "MODEL.COMPILE": "true", "DATALOADER.LOADER": "memory"},
    "small": {**DATA, "DATASETS.TRAIN": "synthetic:20480x1x28x28x10", "MODEL.NAME": "mlp", "SOLVER.IMS_PER_BATCH": "64"},
}
# what stands in a row: a step of one over a step of the other
ROWS = [
    ("a whole step, over the bare loop's", "compiled", "compiled, bare"),
    ("the same, an mlp in fp32, 64 a step", "small", "small, bare"),
    ("a step with images from the host, over one with images on the device", "host", "compiled"),
    ("batches alone: from the device, over copied ahead from the host", "compiled, load", "host, load"),
    ("a step in bf16, over fp32 (its convolutions in TF32, as torch has it)", "bf16", "fp32"),
    ("with channels_last too", "channels_last", "fp32"),
    ("compiled too", "compiled", "fp32"),
]


def main() -> None:
    """Measures and prints."""
    args = arguments(__doc__, rounds=5)
    device = cuda_or_end("gpu")
    result = measure(device, WAYS, rounds=args.rounds, seconds=1.0)
    show({**result, "device": torch.cuda.get_device_name(device)}, args.json)


def measure(device: torch.device, ways: dict[str, dict[str, str]], *, rounds: int, seconds: float) -> dict[str, Any]:
    """The rows, and microseconds a step of everything that took turns."""
    works: dict[str, Work] = {}
    for name, keys in ways.items():
        cfg = config.load_file(None, [*keys.items(), ("MODEL.DEVICE", str(device))])
        bench = build_bench(cfg, build_splits(cfg), device)
        bench.warm_up()
        works |= {name: bench.train, f"{name}, load": bench.load, f"{name}, bare": bare(bench, cfg.SOLVER.PRECISION)}
    wanted = {name: works[name] for row in ROWS for name in row[1:]}
    taken = take_turns(list(wanted.values()), seconds, turns=rounds, until=time.monotonic() + 3600)
    steps = {name: [turn.step for turn in turns] for name, turns in zip(wanted, taken, strict=True)}
    rows = [
        {"what": what, "ratio": ratio(steps[one], steps[other]), "spread": spread(steps[one], steps[other])}
        for what, one, other in ROWS
    ]
    us = {name: round(1e6 * sorted(times)[len(times) // 2]) for name, times in steps.items()}
    return {"ratio": rows[0]["ratio"], "rounds": rounds, "rows": rows, "us_a_step": us}


def bare(bench: Bench, precision: str) -> Work:
    """The loop that one writes by hand, over one batch, on a model as the bench's."""
    trainer = bench.trainer
    batch = trainer.prepare(next(trainer.windows(0, 0))[0])
    images, targets = batch["image"].clone(), batch["target"].clone()
    model = copy.deepcopy(trainer.task.model)

    def loss_of(images: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(model(images), targets)

    ready: Callable[..., Tensor] = torch.compile(loss_of) if trainer.wrapped is not trainer.task else loss_of  # as ours, whole
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9, weight_decay=5e-4, fused=True)

    def step() -> None:
        with torch.autocast(trainer.device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = ready(images, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def turn(seconds: float) -> Turn:
        bench.settle()
        step()
        wait(trainer.device)
        began, steps = time.perf_counter(), 0
        while not steps or time.perf_counter() - began < seconds:
            step()
            steps += 1
            if steps & (steps - 1) == 0:  # as the bench does
                wait(trainer.device)
        wait(trainer.device)
        return Turn(time.perf_counter() - began, steps, steps * len(images))

    return turn


if __name__ == "__main__":
    main()
