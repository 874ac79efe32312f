"""What 8, 64 and 1,024 ranks would do, from measured terms: on paper, not measured.

    python -m benchmarks.scaling_model [--json | --write]

Each term is a number with its source, each formula a function below; change both to what your cluster has. --write puts the
tables into docs/scaling.md.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass

from benchmarks.common import ROOT

RANKS = (8, 64, 1024)
A_NODE = 8  # GPUs of a DGX A100, as all that follows
TERMS: dict[str, tuple[float, str, str]] = {  # name -> value, unit, source
    "images_a_second": (2470, "images/s, one A100", "NVIDIA DeepLearningExamples, ResNet-50 v1.5 in mixed precision"),
    "parameters": (25.6e6, "ResNet-50", "torchvision"),
    "batch": (256, "images a rank", "chosen"),
    "largest_batch": (8192, "images a step", "Goyal et al. 2017, figure 1: beyond it the error rises"),
    "training_images": (1.281e6, "images, 110 kB each", "ImageNet-1k"),
    "image_bytes": (110e3, "bytes", "ImageNet-1k, 141 GB"),
    "validation_images": (50e3, "images", "ImageNet-1k"),
    "nvlink": (300e9, "bytes/s a GPU and direction", "DGX A100: 600 GB/s both ways"),
    "network": (200e9, "bytes/s a node", "DGX A100: eight adapters of 200 Gb/s"),
    "ethernet": (12.5e9, "bytes/s a node", "one adapter of 100 Gb/s, as many clusters have"),
    "of_peak": (0.75, "of these reached", "assumed"),
    "latency": (10e-6, "s a message", "assumed"),
    "backward": (2 / 3, "of a step, behind which messages hide", "a backward pass has twice the products of a forward one"),
    "bucket": (25 * 2**20, "bytes of gradients a message", "torch: DDP's bucket_cap_mb"),
    "jitter": (0.02, "of a step, standard deviation", "assumed; time/step of your own runs shows it"),
    "decoded_a_core": (567, "images/s", "benchmarks.jpeg: 1,135 on two cores"),
    "cores": (16, "a GPU", "DGX A100: 128 a node"),
    "opens_a_second": (500e3, "files, of the whole file system", "Dell, Lustre 2.7: stat of files, MDtest, 240 threads"),
    "read_bandwidth": (50e9, "bytes/s, of the whole file system", "assumed"),
    "shard_bytes": (256e6, "bytes", "chosen"),
    "modules": (2149, "Python files to import, a rank", "counted: torch with torch.optim"),
    "save_wait": (0.156e-9, "s of waiting a byte", "benchmarks.checkpoint: 15.6 ms for 100 MB"),
    "save_every": (600, "s", "SOLVER.CHECKPOINT_SECONDS 600"),
    "hours_to_fault": (50_700, "GPU-hours to one interruption", "Llama 3 (2024), 4.1: 419 in 54 days of 16,384 GPUs"),
    "restart": (120, "s from a fault to the next step", "assumed: requeue, imports, meeting, first batches"),
}
VALUES = {name: value for name, (value, _, _) in TERMS.items()}


def main() -> None:
    """Prints the tables, one JSON object, or writes them into the page."""
    if "--json" in sys.argv:
        rows = {str(ranks): forecast(ranks).__dict__ for ranks in RANKS}
        print(json.dumps({"ratio": rows["64"]["efficiency"], "ranks": rows}))
        return
    text = tables()
    if "--write" in sys.argv:
        page = ROOT / "docs" / "scaling.md"
        before, _, rest = page.read_text(encoding="utf-8").partition("<!-- model -->")
        after = rest.partition("<!-- /model -->")[2]
        page.write_text(f"{before}<!-- model -->\n{text}\n<!-- /model -->{after}", encoding="utf-8")
    print(text)


def all_reduce(size: float, ranks: int, network: float) -> float:
    """Seconds to sum `size` bytes over ranks: 2 (n - 1) / n x size / bandwidth (NVIDIA, nccl-tests, PERFORMANCE.md), and the
    latency of a tree, 2 log2 n messages deep. The bandwidth is that of the slower of NVLink and the network of a node."""
    bandwidth = VALUES["of_peak"] * (VALUES["nvlink"] if ranks <= A_NODE else min(VALUES["nvlink"], network))
    return 2 * (ranks - 1) / ranks * size / bandwidth + 2 * math.log2(ranks) * VALUES["latency"]


def exposed(compute: float, ranks: int, network: float) -> float:
    """Seconds a step waits for gradients: what does not hide behind the backward pass, and the last bucket, which cannot."""
    gradients = 4 * VALUES["parameters"]
    messages = math.ceil(gradients / VALUES["bucket"])
    whole = all_reduce(gradients, ranks, network) + (messages - 1) * 2 * math.log2(ranks) * VALUES["latency"]
    last = all_reduce(min(VALUES["bucket"], gradients), ranks, network)
    return max(whole - VALUES["backward"] * compute, last)


def straggling(compute: float, ranks: int) -> float:
    """Seconds that all wait for the slowest: the mean maximum of n normal deviates is about sd x sqrt(2 ln n)."""
    return VALUES["jitter"] * compute * math.sqrt(2 * math.log(ranks))


def efficiency(batch: float, ranks: int, network: float) -> float:
    """The share of a step that is computing, with `batch` images a rank."""
    compute = batch / VALUES["images_a_second"]
    return compute / (compute + exposed(compute, ranks, network) + straggling(compute, ranks))


@dataclass(frozen=True)
class Forecast:
    """What so many ranks would do; the comments of `tables` say what each is."""

    efficiency: float
    efficiency_ethernet: float
    efficiency_fixed_batch: float
    global_batch: float
    steps_an_epoch: float
    exposed_ms: float
    straggling_ms: float
    cores: float
    opens: float
    opens_of_shards: float
    reads: float
    shards: int
    import_seconds: float
    evaluation_seconds: float
    saving: float
    hours_to_fault: float
    lost: float


def forecast(ranks: int) -> Forecast:
    """All terms for so many ranks."""
    v = VALUES
    compute, rate = v["batch"] / v["images_a_second"], v["images_a_second"] * ranks
    fault = v["hours_to_fault"] / ranks
    return Forecast(
        efficiency=efficiency(v["batch"], ranks, v["network"]),
        efficiency_ethernet=efficiency(v["batch"], ranks, v["ethernet"]),
        efficiency_fixed_batch=efficiency(min(v["batch"], v["largest_batch"] / ranks), ranks, v["network"]),
        global_batch=v["batch"] * ranks,
        steps_an_epoch=v["training_images"] / (v["batch"] * ranks),
        exposed_ms=1e3 * exposed(compute, ranks, v["network"]),
        straggling_ms=1e3 * straggling(compute, ranks),
        cores=v["images_a_second"] / v["decoded_a_core"],
        opens=rate,
        opens_of_shards=rate * v["image_bytes"] / v["shard_bytes"],
        reads=rate * v["image_bytes"] / 1e9,
        shards=math.floor(v["training_images"] * v["image_bytes"] / v["shard_bytes"]),
        import_seconds=v["modules"] * ranks / v["opens_a_second"],
        evaluation_seconds=math.ceil(v["validation_images"] / (v["batch"] * ranks)) * compute / 3,  # a forward pass
        saving=8 * v["parameters"] * v["save_wait"] / v["save_every"],
        hours_to_fault=fault,
        lost=(v["save_every"] / 2 + v["restart"]) / 3600 / fault,
    )


def tables() -> str:
    """The forecast and its terms."""
    all_of = [forecast(ranks) for ranks in RANKS]
    limits = {"opens": VALUES["opens_a_second"], "reads": VALUES["read_bandwidth"] / 1e9, "cores": VALUES["cores"]}

    def row(title: str, name: str, form: str) -> str:
        cells = [format(getattr(one, name), form) for one in all_of]
        over = [getattr(one, name) > limits.get(name, math.inf) for one in all_of]
        over = [one.shards < ranks for one, ranks in zip(all_of, RANKS, strict=True)] if name == "shards" else over
        return f"| {title} | " + " | ".join(f"**{c}**" if o else c for c, o in zip(cells, over, strict=True)) + " |"

    lines = [
        "| | " + " | ".join(f"{ranks:,} ranks" for ranks in RANKS) + " |", "|---|" + "---:|" * len(RANKS),
        row("efficiency of a step, eight adapters of 200 Gb/s a node", "efficiency", ".1%"),
        row("the same, one adapter of 100 Gb/s a node", "efficiency_ethernet", ".1%"),
        row("the same as the first, at most 8,192 images a step", "efficiency_fixed_batch", ".1%"),
        row("images a step, 256 a rank", "global_batch", ",.0f"), row("steps an epoch", "steps_an_epoch", ",.1f"),
        row("a step waits for gradients, ms", "exposed_ms", ".1f"),
        row("a step waits for the slowest rank, ms", "straggling_ms", ".1f"),
        row("cores a rank that decode its JPEGs", "cores", ".1f"),
        row("files opened a second, loose images", "opens", ",.0f"),
        row("files opened a second, shards of 256 MB", "opens_of_shards", ",.1f"),
        row("GB read a second", "reads", ",.1f"), row("shards there are", "shards", ","),
        row("importing torch from the file system, s", "import_seconds", ".2f"),
        row("an evaluation, s", "evaluation_seconds", ".2f"),
        row("time that checkpoints stop training", "saving", ".4%"),
        row("hours to an interruption", "hours_to_fault", ",.0f"),
        row("work lost by interruptions", "lost", ".3%"),
        "", "**Bold**: more than the terms below allow, or fewer shards than ranks.", "",
        "| term | value | | source |", "|---|---:|---|---|",
        *(f"| `{name}` | {value:,.4g} | {unit} | {source} |" for name, (value, unit, source) in TERMS.items()),
    ]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    main()
