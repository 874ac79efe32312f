"""The factory of the teacher: a run's model, as that run's own config and best.pt say."""

from __future__ import annotations

from typing import Any

import torch

import config
import tracking
from config import Config
from data import Splits, channels_seen
from data.build import image_size
from engine.checkpoint import load_checkpoint
from engine.distillation.teacher import Distillation, PrepareWithTeacher, Teacher
from engine.task import Task
from modeling import build_model
from utils.errors import UserError


def add_teacher(cfg: Config, task: Task, splits: Splits, prepare: Any, device: torch.device) -> Any:
    """`prepare`, or where DISTILL.TEACHER names a run, one that asks the teacher; `task` then learns from it.

    Raises:
        UserError: no such run, no best.pt in it, or a teacher of other classes, channels or image sizes.
    """
    if not cfg.DISTILL.TEACHER:
        return prepare
    if not splits.classes or cfg.LOSS.NAME == "binary":
        raise UserError("DISTILL.TEACHER compares the softmax of classes; this run has no such thing (data set, LOSS.NAME)")
    teacher = _load(cfg, splits, prepare.describe(), device)
    height, width = image_size(cfg, splits)
    try:
        shape = teacher(torch.zeros(1, channels_seen(cfg, splits.train), height, width, device=device)).shape
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UserError(
            f"DISTILL.TEACHER {cfg.DISTILL.TEACHER} cannot take this run's images of {height} x {width} pixels: {error}"
        ) from error
    assert shape == (1, splits.num_classes), f"the teacher gives {list(shape)}"
    task.distillation = Distillation(cfg.DISTILL.WEIGHT, cfg.DISTILL.TEMPERATURE)
    return PrepareWithTeacher(prepare, teacher)


def _load(cfg: Config, splits: Splits, seen: dict[str, Any], device: torch.device) -> Teacher:
    name = cfg.DISTILL.TEACHER
    path = tracking.find_run(cfg.runs_folder, name)
    weights = path / "weights" / "best.pt"
    if not weights.is_file():
        raise UserError(f"DISTILL.TEACHER {name}: the run has no weights/best.pt (yet)")
    content, own = load_checkpoint(weights), config.load_run(path / "config.yml")
    if content["classes"] != splits.classes:
        raise UserError(
            f"DISTILL.TEACHER {name} knows the classes {content['classes'][:5]}, this run has {splits.classes[:5]}; "
            "they must be the same, in the same order"
        )
    channels, images = own.MODEL.IN_CHANNELS or splits.train.channels, channels_seen(cfg, splits.train)
    if channels != images and 1 not in (channels, images) or channels == 1 < splits.train.channels:
        raise UserError(f"DISTILL.TEACHER {name} takes images of {channels} channels, this run's have {images}")
    known = content["preprocessing"]
    size = tuple(known["size"]) or image_size(cfg, splits)
    with torch.random.fork_rng(devices=[]):  # the student's draws are what they would be alone
        model = build_model(own, in_channels=channels, num_classes=len(splits.classes), image_size=size)
    try:
        model.load_state_dict(content["model"])
    except RuntimeError as error:
        raise UserError(f"DISTILL.TEACHER {name}: its weights do not fit {own.MODEL.NAME} of this code: {error}") from error
    return Teacher(model, channels=channels, seen=(seen["mean"], seen["std"]), own=(known["mean"], known["std"]), device=device)
