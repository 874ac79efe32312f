"""The factories of order and loader: which samples make which batch, and who reads them."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from functools import partial

import numpy
import torch

from config import Config
from data import jpeg
from data.dataset import Dataset
from data.loaders.device import DeviceLoader, why_not_on_device
from data.loaders.loader import Fetcher, Loader
from data.loaders.memory import MemoryLoader
from data.loaders.plan import Plan, TrainingPlan
from data.loaders.processes import ProcessLoader
from data.loaders.threads import ThreadLoader, default_threads
from data.samplers import SAMPLERS, repeated, shuffle, shuffle_pieces
from data.to_device import SideStream
from utils.errors import UserError

LOG = logging.getLogger("fieldbook.data")


def training_plan(cfg: Config, dataset: Dataset, rank: int, world_size: int) -> TrainingPlan:
    """Which samples make which micro-batch of this rank.

    Raises:
        UserError: a step's samples cannot be split as asked, or the sampler does not fit the data.
    """
    seed, targets = cfg.SEED, dataset.targets
    sampler = SAMPLERS.get(cfg.DATALOADER.SAMPLER)
    window, parts, drop_last = cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.ACCUMULATE, cfg.DATALOADER.DROP_LAST
    if window < parts * world_size:
        raise UserError(f"SOLVER.IMS_PER_BATCH {window} cannot be split over {world_size} ranks x SOLVER.ACCUMULATE {parts}")
    if len(dataset) < world_size:
        raise UserError(f"{dataset.name} has {len(dataset)} samples for {world_size} ranks; start fewer")
    if drop_last and len(dataset) < window:
        raise UserError(f"DATALOADER.DROP_LAST leaves nothing: {len(dataset)} samples, SOLVER.IMS_PER_BATCH {window}")
    order: Callable[[int], numpy.ndarray] = partial(sampler, targets, seed)
    if sampler is shuffle and dataset.pieces is not None:
        order = partial(shuffle_pieces, dataset.pieces, cfg.DATASETS.SHARD_WINDOW, seed)
    if "facts" in inspect.signature(sampler).parameters:
        groups = {"batch": window, "instances": _instances(cfg, window, parts * world_size)}
        order = partial(sampler, targets, seed, facts=dataset.facts, **groups)
    length = len(order(0))  # and a sampler that cannot order these targets says so before there is a run
    order = repeated(order, _repeats(cfg, window))
    return TrainingPlan(order, length, window, parts, rank, world_size, drop_last)


def _instances(cfg: Config, window: int, pieces: int) -> int:
    instances, repeats = cfg.DATALOADER.INSTANCES, cfg.DATALOADER.REPEATS
    group = pieces * instances * repeats
    if window % group or window == group:
        near = sorted({max(times, 2) * group for times in (window // group, window // group + 1)})
        whose = f"each of the {pieces} parts (ranks x SOLVER.ACCUMULATE) of " * (pieces > 1)
        raise UserError(
            f"DATALOADER.SAMPLER {cfg.DATALOADER.SAMPLER}: {whose}SOLVER.IMS_PER_BATCH {window} has to be a whole multiple, at "
            f"least twice, of DATALOADER.INSTANCES {instances}"
            + f" x DATALOADER.REPEATS {repeats}" * (repeats > 1)
            + f"; SOLVER.IMS_PER_BATCH {' or '.join(map(str, near))} would do"
        )
    return int(instances)


def _repeats(cfg: Config, window: int) -> int:
    repeats: int = cfg.DATALOADER.REPEATS
    if window % repeats:
        raise UserError(f"SOLVER.IMS_PER_BATCH {window} has to be a multiple of DATALOADER.REPEATS {repeats}")
    if repeats > 1 and not cfg.INPUT.TRANSFORMS_TRAIN:
        LOG.warning("DATALOADER.REPEATS %d without INPUT.TRANSFORMS_TRAIN: the copies of an image are equal", repeats)
    return repeats


def choose_loader(cfg: Config, plan: Plan, fetcher: Fetcher, device: torch.device | None = None) -> Loader:
    """The loader that DATALOADER.LOADER names, or the fastest that the data and its transforms allow.

    Args:
        device: where batches are needed. On a CUDA device lies what `auto` finds room for; batches of all other loaders are
            copied there, one ahead. None, or any other device: they stay on the host.

    Raises:
        UserError: they do not allow the one asked for.
    """
    if device is None or device.type != "cuda":
        return _on_host(cfg, plan, fetcher)
    why_not = ""
    if cfg.DATALOADER.LOADER == "auto" and fetcher.dataset.arrays() is not None:
        why_not = why_not_on_device(fetcher, torch.cuda.mem_get_info(device)[0])
        if not why_not:
            return DeviceLoader(plan, fetcher, f"the data set fits on {device}", device, max_bad=cfg.DATALOADER.MAX_BAD)
    loader = _on_host(cfg, plan, fetcher)
    loader.why += f"; not on {device}: {why_not}" if why_not else ""
    loader.side = SideStream(device)
    return loader


def _on_host(cfg: Config, plan: Plan, fetcher: Fetcher) -> Loader:
    """Of the loaders whose batches lie on the host."""
    wanted, workers, dataset = cfg.DATALOADER.LOADER, cfg.DATALOADER.NUM_WORKERS, fetcher.dataset
    in_memory, limits = dataset.arrays() is not None, {"max_bad": cfg.DATALOADER.MAX_BAD}
    if wanted == "memory" and not in_memory:
        raise UserError(f"DATALOADER.LOADER memory: {dataset.name} does not lie in memory; take auto, threads or processes")
    if wanted == "memory" or (wanted == "auto" and in_memory):
        why = "asked for" if wanted == "memory" else "the data set lies in memory"
        return MemoryLoader(plan, fetcher, why, **limits)
    limits["timeout"] = cfg.DATALOADER.TIMEOUT
    global_draws = [type(one).__name__ for one in fetcher.transforms if not getattr(one, "in_threads", True)]
    if wanted == "threads" and global_draws:
        raise UserError(
            f"DATALOADER.LOADER threads: {', '.join(global_draws)} draws from torch's global generator, which threads share; "
            "take processes"
        )
    fit = dataset.in_threads and jpeg.available() and all(getattr(one, "in_threads", False) for one in fetcher.transforms)
    if wanted == "threads" or (wanted == "auto" and not workers and fit):
        threads = workers or default_threads()
        why = "asked for" if wanted == "threads" else "the data set reads image files"
        return ThreadLoader(plan, fetcher, f"{counted(threads, 'thread')}, {why}", threads=threads, **limits)
    why = "asked for" if wanted == "processes" else f"the data set reads files{_why_no_threads(workers, fetcher)}"
    where = counted(workers, "worker") if workers else "in this one alone"
    if workers > default_threads():
        where += f", more than the {counted(default_threads(), 'core')} for them"
    return ProcessLoader(plan, fetcher, f"{where}, {why}", workers=workers, **limits)


def _why_no_threads(workers: int, fetcher: Fetcher) -> str:
    """Why image files are not read by threads, which are faster; "" where nobody would expect it."""
    if not fetcher.dataset.in_threads:
        return ""
    if workers:
        return "; DATALOADER.NUM_WORKERS asks for processes"
    if not jpeg.available():
        return "; threads want simplejpeg, which is not installed"
    alone = [getattr(one, "name", type(one).__name__) for one in fetcher.transforms if not getattr(one, "in_threads", False)]
    said = f"{', '.join(alone)} {'are' if len(alone) > 1 else 'is'} not said to run in_threads"
    return f"; {said}: DATALOADER.NUM_WORKERS {default_threads()} would use all cores"


def counted(number: int, what: str) -> str:
    """`1 thread`, `2 threads`."""
    return f"{number} {what}{'s' * (number != 1)}"
