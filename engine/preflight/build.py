"""The preflight of --dry-run: what it is made of."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import tracking
from config import Config
from data import Splits, make_data_loader
from data.dataset import Part
from engine import distributed
from engine.card import card_facts
from engine.evaluators.build import build_evaluator, make_scorer
from engine.hooks.build import build_hooks
from engine.preflight.checks import Preflight, Scorer
from engine.preflight.table import Finding, print_findings
from engine.trainer import Trainer


def dry_run(cfg: Config, splits: Splits, trainer: Trainer) -> int:
    """Tries what a training would need, and prints it: 0 if all is well, 1 if not; nothing is kept."""
    facts = [Finding(label, "", text) for label, text in card_facts(cfg, splits, trainer)]
    with tempfile.TemporaryDirectory(prefix="fieldbook-dry-run-") as scratch:
        findings = build_preflight(cfg, splits, trainer, Path(scratch)).run()
    if distributed.is_main():
        print_findings([*facts, *findings])
    return int(any(distributed.gather(any(finding.verdict == "wrong" for finding in findings))))


def build_preflight(cfg: Config, splits: Splits, trainer: Trainer, scratch: Path) -> Preflight:
    """The checks of --dry-run on a trainer with all its hooks; what they write goes to `scratch`, a temporary folder."""
    trainer.add_hooks(build_hooks(cfg, trainer, splits, tracking.QuietRun(scratch)))
    data: dict[str, Any] = {"train": (trainer.loader, splits.train)}
    scorers = {}
    epochs, solver = trainer.max_epochs, cfg.SOLVER
    evaluations = -(-epochs // solver.EVAL_PERIOD)
    for split, times in (("val", evaluations), ("test", int(cfg.TEST.AT_END))):
        part = splits.get(split)
        if part is None:
            continue
        data[split] = (make_data_loader(cfg, split, splits), part)
        count = min(2 * cfg.TEST.IMS_PER_BATCH * distributed.world_size(), len(part))
        few = dataclasses.replace(splits, **{split: Part(part, range(count))})
        evaluator = build_evaluator(cfg, splits.num_classes, trainer.device)
        score = make_scorer(cfg, trainer.task, few, split, trainer.device, evaluator)
        scorers[split] = Scorer(score, count, len(part) / count, times)
    numbered = epochs // solver.CHECKPOINT_PERIOD
    return Preflight(
        trainer,
        data=data,
        scorers=scorers,
        scratch=scratch,
        disk=cfg.runs_folder,
        files=2 + (min(solver.TOP_K + 1, numbered) if solver.TOP_K else numbered),
        writes=epochs + numbered + evaluations,
    )
