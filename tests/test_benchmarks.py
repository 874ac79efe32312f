"""The benchmarks print one JSON object each, and the page says what they found: what missed its target, what failed."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT

from benchmarks import __main__ as every
from benchmarks import cifar10_94, cifar10_by_hand, gpu, growth, jpeg, page, peers

CASE = {"model": "mlp", "batch": 64, "spread": [0.7, 0.9]}
CANNED: dict[str, dict[str, Any]] = {
    "overhead": {
        "ratio": 1.2, "ratio_to_dataloader": 0.5, "cases": [{**CASE, "ratio": 0.8}, {**CASE, "batch": 256, "ratio": 1.2}],
        "peers": {"ignite": {"version": "1.0", "ratio": 1.1, "spread": [1.0, 1.3]}, "accelerate": {"missing": "not installed"}},
    },
    "small_images": {
        "ratio": 0.95, "ratio_to_torchvision": 50.0, "spread_to_torchvision": [40.0, 60.0], "laying_out_s": 0.2,
        "laying_out_bytes": 120, "image_bytes": 60,
    },
    "jpeg": {**jpeg.ratios({
        "torchvision": [1.0, 1.0], "pictures": [1.2, 1.2], "uint8": [2.6, 2.4], "float": [1.5, 1.5], "decoding": [4.0, 4.0],
    })},
    "shards": {"ratio": 1.1, "spread": [1.0, 1.2], "bytes": 1.9, "bytes_spread": [1.8, 2.0]},
    "startup": {"ratio": 0.9, "spread": [0.8, 1.0]},
    "checkpoint": {"sizes": [{
        "megabytes": 100, "ratio": 0.3, "until_on_disk": 2.5, "peers": {"DCP async": {"version": "2", "ratio": 0.6}},
    }]},
    "evaluation": {"failed": "exit code 1: no memory"},
    "memory": {"ratio": 1.1, "more_mb": 30.0},
    "whole_job": {"ratio": 0.5, "rounds": 3, "reached": False, "test_accuracy": {"ours": 0.98, "by hand": 0.991},
                  "workers_by_hand": 2},
    "accuracy": {"nothing": "that the page knows"},
    "retrieval": {"ratio": 0.4, "seconds": 1.3, "more_mb": 160.0},
    "figures": {"ratio": 0.004, "spread": [0.003, 0.005], "first_s": 1.2},
    "scaling": {"ratio": 1.01, "cpu_ratio": 1.0, "small_steps_ratio": 1.1, "efficiency": 0.95},
    "sweep": {"ratio": 0.2, "seconds_per_trial": 0.2, "seconds_with_start": 3.4, "seconds_of_a_process": 17.4},
    "growth": {"ratio": 1.0, "exponents": {"steps": 1.0}, "memory_more_mb": 0.0},
    "predict": {"ratio": 2.0, "ratio_to_dataset": 3.0},
    "export": {"ratio": 0.5, "worst_over_allowed": 0.1, "formats": [
        {"format": name, "model": "m", "over_pytorch": {"1": 0.5}} for name in ("pytorch", "onnx")
    ]},
    "gpu": {"ratio": 1.1, "rows": [{"what": "a step", "ratio": 1.1, "spread": [1.0, 1.2]}], "rounds": 5, "device": "H9",
            "machine": "m"},
    "cifar10_94": {"ratio": 0.5, "spread": [0.5, 0.5], "ours_s": 20.0, "by_hand_s": 40.0, "first_step_s": 30.0, "device": "H9",
                   "machine": "m", "rounds": 1, "goal": 0.94, "ours_reached": 1, "by_hand_reached": 1, "reached": True},
}  # fmt: skip
SMALL_RECIPE = [
    "DATASETS.TRAIN", "synthetic:40x3x8x8x10", "SOLVER.IMS_PER_BATCH", "8", "SOLVER.MAX_EPOCHS", "2",
    "SOLVER.WARMUP_ITERS", "2",
]  # fmt: skip


def test_the_page_says_what_was_found() -> None:
    text = page.render(CANNED)
    for name in page.WORKLOADS:
        assert (f"`benchmarks.{name}` (" in text.split("##")[0]) == (name not in CANNED)
    assert all(f"## {workload.title}\n" in text for workload in page.WORKLOADS.values())
    assert "| **this template, mlp, batches of 64** | **0.800** | 0.70 to 0.90 | <= 1.02 | kept |" in text
    assert "| **this template, mlp, batches of 256** | **1.200** | 0.70 to 0.90 | <= 1.02 | **missed** |" in text
    assert "| ignite 1.0 | 1.100 | 1.00 to 1.30 | | |" in text
    assert "| accelerate | | | | not installed |" in text
    assert "until it is on disk, over torch.save and fsync, 100 MB** | **2.500** |  | <= 2 | **missed** |" in text
    assert "| DCP async 2, 100 MB | 0.600 |" in text
    assert "**Failed:** exit code 1: no memory" in text
    assert "**Failed:** its result cannot be read" in text
    assert "| **0.500** |  | <= 0.6 | **missed** |" in text and "Ours did not reach the accuracy" in text
    assert "Least test accuracy of the rounds: ours 0.98, by hand 0.991." in text and "Rounds: 3." in text
    assert "num_workers=2" in text and "not measured: mmengine, Hugging Face's Trainer, fastai." in text
    assert "| **50.000** | 40.00 to 60.00 | >= 40 | kept |" in text and "over those of the images** | **2.000** |" in text
    assert "| **2.500** | 2.40 to 2.60 | >= 2.5 | kept |" in text


def test_the_page_is_made_of_three_rounds_of_what_trains_to_an_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def run(words: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(words)
        return subprocess.CompletedProcess(words, 0, stdout='{"ratio": 1.0}')

    monkeypatch.setattr(subprocess, "run", run)
    for name, quick in (("whole_job", False), ("accuracy", False), ("accuracy", True), ("startup", False)):
        assert every.run(name, {}, peers=False, quick=quick)["ratio"] == 1.0
    assert [words[words.index("--json") + 1 :] for words in asked] == [["--rounds", "3"], ["--rounds", "3"], [], []]


def test_an_exponent_sees_what_a_fixed_part_hides() -> None:
    def exponent(sizes: Sequence[int], seconds: Callable[[int], float]) -> float:
        return statistics.median(growth.exponents(growth.take_turns(seconds, sizes, 3), sizes))

    for sizes in (growth.HOOKS, growth.RUNS, growth.WORKERS):
        assert exponent(sizes, lambda count: 5 + 1e-3 * count) == pytest.approx(1)
        assert exponent(sizes, lambda count: 5 + 1e-3 * count**2) > 1.8
        assert exponent(sizes, lambda count: 5 + 1e-3 * count**1.1) > 1.05


def test_an_exponent_that_is_lost_in_noise_is_none() -> None:
    noisy = [[5.0, 5.1, 5.2], [5.3, 5.35, 5.5], [5.1, 5.25, 5.6]]
    falls = [[5.0, 4.9, 6.0]] * 3
    found = {name: growth.exponents(turns, (1, 10, 100)) for name, turns in (("noisy", noisy), ("falls", falls))}
    result = {**growth.summary({**found, "steps": [1.0, 1.2, 1.1]}), "rounds": 3, "memory_more_mb": 0.0}
    assert result["ratio"] == 1.1 and result["largest"] == "steps" and result["exponents"]["noisy"] is None
    text = "\n".join(page.section("growth", result))
    assert "| **exponent: falls (lost in noise)** | **none** |  | <= 1.05 | **no figure** |" in text
    assert "| **exponent: steps** | **1.100** | 1.00 to 1.20 | <= 1.05 | **missed** |" in text


def test_a_peer_that_is_absent_or_fails_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "DISTRIBUTIONS", {"absent": "no-such-distribution", "broken": "torch"})
    found = peers.measure_each("benchmarks.no_such_module", ["absent", "broken"])
    assert found["absent"] == {"missing": "not installed"}
    assert "failed: " in found["broken"]["missing"]


def test_without_mnist_the_whole_job_is_one_line(tmp_path: Any) -> None:
    words = [sys.executable, "-m", "benchmarks.whole_job", "--json", "--data", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "--data" in done.stderr


def test_what_is_measured_alone_is_put_into_the_page_whose_other_sections_stay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(every, "PAGE", tmp_path / "page.md")
    found = {name: {**result, "machine": "m"} for name, result in CANNED.items()}
    monkeypatch.setattr(every, "run", lambda name, *_, **__: found[name])

    def write(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["benchmarks", *words])
        assert every.main() == int("--gpu" not in words and "--only" not in words)  # one of CANNED failed
        capsys.readouterr()
        return every.PAGE.read_text()

    old = write()
    assert old.count("Not measured yet") == 2 and "airbench94" in old and "on m.\n" in old
    new = write("--gpu")
    assert "On one H9; m." in new and "| **a step** | **1.100** | 1.00 to 1.20 |" in new
    assert page.read_back(new) == found and page.render(found) == new
    found["startup"] |= {"ratio": 0.8, "machine": "another"}
    newest = write("--only", "startup")
    assert newest == page.render(found) and newest.count("Measured on another.") == 1 and "Measured on m." not in newest
    monkeypatch.setattr(every, "run", lambda *_, **__: {"failed": "no disk"})
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only", "startup"])
    assert every.main() == 1 and every.PAGE.read_text() == newest, "what failed does not take the place of what was measured"


@pytest.mark.skipif(not every.PAGE.exists(), reason="nothing was measured yet")
def test_the_page_is_what_its_figures_make() -> None:
    written = every.PAGE.read_text(encoding="utf-8")
    assert page.render(page.read_back(written)) == written


@pytest.mark.parametrize("module", [gpu, cifar10_94], ids=["gpu", "cifar10_94"])
def test_without_a_gpu_its_benchmarks_say_so_in_one_line(
    module: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["benchmark", "--json"])
    with pytest.raises(SystemExit) as end:
        module.main()
    said = capsys.readouterr()
    assert end.value.code == 2 and said.out == "" and said.err.count("\n") == 1 and "needs a CUDA device" in said.err


def test_what_a_gpu_is_measured_with_runs_on_a_cpu(tmp_path: Path) -> None:
    few = {
        "DATASETS.TRAIN": "synthetic:40x3x8x8x10",
        "SOLVER.IMS_PER_BATCH": "8",
        "MODEL.COMPILE": "false",
        "MODEL.NAME": "mlp",
    }
    result = gpu.measure(torch.device("cpu"), {name: {**keys, **few} for name, keys in gpu.WAYS.items()}, rounds=1, seconds=0)
    assert len(result["rows"]) == len(gpu.ROWS) and all(row["ratio"] > 0 for row in result["rows"])
    keys = [*SMALL_RECIPE, "MODEL.COMPILE", "false", "SOLVER.PRECISION", "fp32", "MODEL.NAME", "mlp", "TEST.FIGURES", "false"]
    first, curve = cifar10_94.ours(tmp_path, 0, *keys, device="cpu")
    assert first > 0 and len(curve) == 2 and 0 < curve[0][0] < curve[1][0]
    few_images = torch.utils.data.TensorDataset(torch.randn(12, 3, 8, 8), torch.arange(12) % 10)
    epochs = cifar10_by_hand.train(few_images, few_images, 0, torch.device("cpu"), batch=4, workers=0, compiled=False)
    first, spent, score = next(epochs)
    assert first > 0 and 0 < spent < next(epochs)[1] and 0 <= score <= 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_benchmarks_of_the_device_run(tmp_path: Path) -> None:
    result = gpu.measure(torch.device("cuda"), gpu.WAYS, rounds=1, seconds=0.05)
    assert result["ratio"] > 0 and len(result["rows"]) == len(gpu.ROWS)
    first, curve = cifar10_94.ours(tmp_path, 0, *SMALL_RECIPE)
    assert first > 0 and len(curve) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        "startup --rounds 1",
        "checkpoint --rounds 1 --sizes 2",
        "evaluation --rounds 1",
        "memory --rounds 1",
        "overhead --rounds 1",
        "small_images --rounds 1",
        "jpeg --rounds 1 --images 64",
        "shards --rounds 1 --images 64",
        "sweep --rounds 1",
    ],
)
def test_a_benchmark_prints_one_object(words: str) -> None:
    name, *rest = words.split()
    command = [sys.executable, "-m", f"benchmarks.{name}", "--json", *rest]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["ratio"] > 0
    assert "**Failed" not in "\n".join(page.section(name, result))
