"""The workloads of docs/performance.md: what each measures, and how the object that it prints becomes rows of a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Span = list[float | None] | None  # [least, greatest] of the rounds
Row = tuple[str, float | None, Span, str]  # what, figure (None: there is none), its rounds, the target: "<= 1.02"
# seconds to 94 % on CIFAR-10 of those who published them, and on what: from their own pages, not measured here
PUBLISHED = (
    ("airbench94_muon, 94.01 %", "2.59", "A100", "https://github.com/KellerJordan/cifar10-airbench"),
    (
        "airbench94_compiled, 94.01 %",
        "3.09",
        "A100",
        "https://github.com/KellerJordan/cifar10-airbench (arXiv 2404.00498: 3.29)",
    ),
    ("hlb-CIFAR10", "6.3", "A100", "https://github.com/tysam-code/hlb-CIFAR10, as airbench's page gives it"),
    ("Page, How to Train Your ResNet, its last part", "26", "V100", "as airbench's page gives it: at least 8 on an A100"),
    ("Page, cifar10-fast, its first form", "87", "V100", "https://github.com/davidcpage/cifar10-fast"),
)


@dataclass(frozen=True)
class Workload:
    """What is measured, over what, and how the printed object becomes rows."""

    title: str
    measured: str
    rows: Callable[[dict[str, Any]], list[Row]]
    peers: bool = False  # whether the module has --peers
    absent: str = ""  # other libraries for this, which are not measured
    note: str = ""  # what a reader has to know to believe it
    rounds: int = 0  # for the page, where it is more than the module's own default; 0: that
    published: tuple[tuple[str, ...], ...] = ()  # rows of what others published: what, figure, on what, source
    gpu: bool = False  # needs a CUDA device: measured by `python -m benchmarks --gpu` alone


def simple(target: str) -> Callable[[dict[str, Any]], list[Row]]:
    """One row, of `ratio`."""
    return lambda result: [("this template", result["ratio"], result.get("spread"), target)]


def overhead(result: dict[str, Any]) -> list[Row]:
    """Two rows a case, and the ratio to the usual loop."""
    cases = [
        (f"this template, {case['model']}, batches of {case['batch']}", case["ratio"], case.get("spread"), "<= 1.02")
        for case in result["cases"]
    ]
    alone: list[Row] = [
        (
            f"the loop alone, {case['model']}, batches of {case['batch']}",
            case["ratio_to_own_parts"], case["spread_to_own_parts"], "",
        )
        for case in result["cases"] if "ratio_to_own_parts" in case
    ]  # fmt: skip
    usual: Row = ("this template, over the usual DataLoader loop", result["ratio_to_dataloader"], None, "<= 0.85")
    return [*cases, usual, *alone]


def small_images(result: dict[str, Any]) -> list[Row]:
    """Beside the path without augmentation, and beside torchvision; what is done once before has no target."""
    return [
        ("images/s over the same path without augmentation", result["ratio"], result.get("spread"), ">= 0.9"),
        (
            "images/s with 2 threads over torchvision's DataLoader, 2 workers", result["ratio_to_torchvision"],
            result.get("spread_to_torchvision"), ">= 40",
        ),
        ("seconds to lay out the images, once before the first epoch", result["laying_out_s"], None, ""),
        ("bytes that these take, over those of the images", result["laying_out_bytes"] / result["image_bytes"], None, ""),
    ]  # fmt: skip


def jpeg(result: dict[str, Any]) -> list[Row]:
    """uint8, floats, and beside decoding alone."""
    targets = {"uint8": ">= 2.5", "float": ">= 2.0", "level": "", "decoding": ">= 0.6"}
    words = {
        "uint8": "images/s as uint8, over torchvision's normalised floats",
        "float": "images/s as normalised floats, over the same", "level": "images/s as uint8, over torchvision as uint8",
        "decoding": "images/s as uint8, over decoding whole files alone",
    }  # fmt: skip
    spreads = result.get("spreads", {})
    return [(words[name], result[name], spreads.get(name), targets[name]) for name in words if name in result]


def shards(result: dict[str, Any]) -> list[Row]:
    """As batches, and the bytes alone."""
    alone: Row = ("reading alone, checksums included, one thread", result["bytes"], result.get("bytes_spread"), "")
    return [("this template, shards over loose files", result["ratio"], result.get("spread"), ">= 0.95"), alone]


def checkpoint(result: dict[str, Any]) -> list[Row]:
    """How long training waits, and how long it takes until the file is on disk: two rows a size."""
    targets, rows = {100: "<= 0.40", 1000: "<= 0.20"}, []
    for row in result["sizes"]:
        size, target = f"{row['megabytes']} MB", targets.get(row["megabytes"], "")
        rows += [(f"this template, {size}", row["ratio"], row.get("spread"), target)]
        whole = f"until it is on disk, over torch.save and fsync, {size}"
        rows += [(whole, row["until_on_disk"], row.get("until_on_disk_spread"), "<= 2")]
    return rows


def whole_job(result: dict[str, Any]) -> list[Row]:
    """Beside the recipe by hand, as it is usually written and in the memory format of ours."""
    rows: list[Row] = [("this template", result["ratio"], result.get("spread"), "<= 0.6")]
    if "level" in result:
        rows += [("the same, over the recipe by hand in channels_last", result["level"], result["spread_of_level"], "")]
    return rows


def memory(result: dict[str, Any]) -> list[Row]:
    """What it takes more."""
    return [("MB more than the plain loop", result["more_mb"], result.get("more_mb_spread"), "<= 40")]


def retrieval(result: dict[str, Any]) -> list[Row]:
    """Beside the loop, in seconds, and in memory."""
    own: Row = ("this template, over the loop", result["ratio"], result.get("spread"), "")
    return [own, ("seconds", result["seconds"], None, "<= 3"), ("MB above the features", result["more_mb"], None, "<= 1024")]


def sweep(result: dict[str, Any]) -> list[Row]:
    """Beside single processes, and in seconds."""
    own: Row = ("this template, over a process each", result["ratio"], result.get("spread"), "")
    alone = ("the sweep's own seconds a trial", result["seconds_per_trial"], None, "<= 0.5")
    whole = ("seconds of a trial, all of a sweep's over its trials", result["seconds_with_start"], None, "")
    return [own, alone, whole, ("seconds of a process", result["seconds_of_a_process"], None, "")]


def growth(result: dict[str, Any]) -> list[Row]:
    """An exponent a row, what does not grow in work, and memory."""
    spreads = result.get("spreads", {})
    rows: list[Row] = [
        (f"exponent: {name}" + (" (lost in noise)" if value is None else ""), value, spreads.get(name), "<= 1.05")
        for name, value in result["exponents"].items()
    ]
    for name, value in result.get("ten_times", {}).items():
        rows += [(f"time with 20 {name}, over that with 2", value, result["ten_times_spreads"][name], "")]
    return [*rows, ("MB more after ten times the steps", result["memory_more_mb"], None, "<= 5")]


def figures(result: dict[str, Any]) -> list[Row]:
    """The share of an epoch, and the first drawing, which imports matplotlib."""
    own: Row = ("a drawing of the curves, over an epoch of a minute", result["ratio"], result["spread"], "<= 0.01")
    return [own, ("seconds of the first drawing", result["first_s"], None, "")]


def scaling(result: dict[str, Any]) -> list[Row]:
    """Beside the loop by hand, and what the second rank brings; small steps have no target."""
    return [
        ("this template, over DDP in a loop by hand, resnet20", result["ratio"], result.get("spread"), "<= 1.03"),
        ("the same in processor time", result["cpu_ratio"], None, "<= 1.03"),
        ("the same, a small MLP", result["small_steps_ratio"], result.get("small_steps_spread"), ""),
        ("efficiency: a step alone over a step together", result["efficiency"], result.get("efficiency_spread"), ""),
    ]


def predict(result: dict[str, Any]) -> list[Row]:
    """Beside the loop by hand and beside torchvision's classes."""
    return [
        ("images/s over a loop by hand", result["ratio"], result.get("spread"), ""),
        ("images/s over ImageFolder and a DataLoader", result["ratio_to_dataset"], result.get("spread_to_dataset"), ""),
    ]


def export(result: dict[str, Any]) -> list[Row]:
    """The time of each file for each batch, beside the model in PyTorch, and how far it is from it."""
    rows: list[Row] = [("greatest difference of an output, over what is allowed", result["worst_over_allowed"], None, "<= 1")]
    for row in result["formats"]:
        if row["format"] != "pytorch":
            rows += [(f"{row['format']}, {row['model']}, batch {n}", over, None, "") for n, over in row["over_pytorch"].items()]
    return rows


def gpu(result: dict[str, Any]) -> list[Row]:
    """As the benchmark names them."""
    return [(row["what"], row["ratio"], row["spread"], "") for row in result["rows"]]


def cifar10_94(result: dict[str, Any]) -> list[Row]:
    """Beside the recipe by hand, and in seconds."""
    rows: list[Row] = [("this template, over the same recipe by hand", result["ratio"], result["spread"], "")]
    words = {
        "ours_s": "seconds to 94 %",
        "by_hand_s": "the same by hand",
        "first_step_s": "seconds of the first step, not counted",
    }
    return [*rows, *((what, result[name], None, "") for name, what in words.items())]


WORKLOADS = {
    "overhead": Workload(
        "A training step",
        "time over a plain hand-written loop on the same tensors, one thread, all defaults on",
        overhead,
        True,
        "mmengine, Hugging Face's Trainer, fastai",
        note="The plain loop takes `torch.optim.SGD` as it comes; ours calls the fused kernel without torch's wrapper. The "
        "loop alone is over one by hand that has our optimizer and our normalising. None validates or tests.",
    ),
    "small_images": Workload(
        "Small images in memory",
        "32 x 32 x 3, pad-crop, flip, normalise, one thread",
        small_images,
        absent="kornia, a loop over slices, masks as speed-runs have them",
    ),
    "jpeg": Workload(
        "A folder of JPEGs",
        "random crops of 224 pixels, mirrored, beside torchvision's ImageFolder",
        jpeg,
        absent="DALI, torchvision's v2 transforms, grain, webdataset, SPDL",
    ),
    "shards": Workload(
        "Shards",
        "images/s from WebDataset shards, over the same JPEGs as loose files (random crops of 224 pixels, in the page cache)",
        shards,
        absent="DALI, grain, mosaicml-streaming, LitData",
    ),
    "startup": Workload(
        "Start-up",
        "start of the process to its first step, over the shortest script with torch.optim",
        simple("<= 1.0"),
        True,
        "mmengine, Hugging Face's Trainer",
        note="It can be below 1 because making one of torch's optimizers imports its compiler, and ours (SGD) does not.",
    ),
    "checkpoint": Workload(
        "Checkpoints", "time that training stands still, over torch.save of model and optimizer", checkpoint, True
    ),
    "evaluation": Workload(
        "Evaluation",
        "10,000 images, over a plain loop that counts matches",
        simple("<= 1.05"),
        True,
        note="Ours gives loss, top-5 and the confusion matrix besides.",
    ),
    "memory": Workload(
        "Memory",
        "peak resident set of the MLP run, beside the plain loop's",
        memory,
        absent="ignite, mmengine, Hugging Face's Trainer, Lightning",
        note="It can be below 0 for the same reason as the start-up: what is not imported takes no memory.",
    ),
    "whole_job": Workload(
        "A whole job",
        "MNIST with lenet to 99 %, the whole process, over the same recipe by hand",
        whole_job,
        True,
        rounds=3,
    ),
    "accuracy": Workload(
        "Accuracy against time",
        "a small residual net to 99.4 % on MNIST, over an untuned recipe by hand",
        simple("<= 0.5"),
        rounds=3,
    ),
    "sweep": Workload("Trials of a sweep", "eight trainings of two epochs on the digits, over as many processes", sweep),
    "growth": Workload(
        "Growth", "three sizes of each; the exponent is that of what is added: 1 where a unit more costs the same", growth
    ),
    "figures": Workload("Pictures", "the learning curves of a run of 10,000 logged steps and 200 validations", figures),
    "scaling": Workload("Two ranks", "two gloo ranks of one thread each, 16 images of 32 x 32 a rank and step", scaling),
    "retrieval": Workload(
        "Scores of a retrieval", "3,368 queries, 15,913 gallery images, 512 features, over a NumPy loop of queries", retrieval
    ),
    "predict": Workload("Prediction of files", "JPEGs of 500 x 375 resized to 96 pixels, an mlp, two cores", predict),
    "export": Workload("Exported models", "time over the model in PyTorch, one thread", export),
    "gpu": Workload(
        "On a GPU",
        "resnet9 on 32 x 32 x 3, batches of 512, pad-crop, flip, on one CUDA device",
        gpu,
        gpu=True,
        note="The bare loop is `torch.optim.SGD(fused=True)` on one batch that lies ready on the device.",
    ),
    "cifar10_94": Workload(
        "CIFAR-10 to 94 %",
        "training time of configs/train_cifar10_fast.yml until the test is at 94 %, on one CUDA device, without the first step",
        cifar10_94,
        gpu=True,
        rounds=3,
        published=PUBLISHED,
    ),
}
