"""What a run's best model says of image files, one after another: the probabilities of its own test.

from engine.shipping import load_predictor

predictor = load_predictor("exp/<run>")
predictor(["a.jpg"])[0].prediction
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from config import Override
from data.collate_batch import collate_batch
from data.dataset import Sample
from data.datasets.image_folder import ImageFiles
from data.loaders.loader import Fetcher
from data.loaders.threads import default_threads
from engine.named_weights import find_trained
from engine.shipping.build import Trained, load_trained
from engine.shipping.stream import read_ahead
from modeling.losses.outputs import entry
from utils.errors import UserError


@dataclass(frozen=True)
class Prediction:
    """What was said of one file.

    Attributes:
        prediction: the class; the classes of a probability above 1/2, parted by |; or the value. "" where there is an error.
        confidence: as in predictions.csv: of the class; of the least certain label; None for a value.
        top: (class, probability) of the most probable ones, most probable first; () for a value.
        error: what is wrong with the file; "" where nothing is.
    """

    path: str
    prediction: str = ""
    confidence: float | None = None
    top: tuple[tuple[str, float], ...] = ()
    error: str = ""


def load_predictor(
    run: str | Path, *, folder: str | Path = "exp", device: str = "", top: int = 5, overrides: Sequence[Override] = ()
) -> Predictor:
    """The predictor of a run: its best weights, its own config and the transforms of its test. The data set is not needed.

    Args:
        run: a run's folder, its name, a part of it, last, or best:METRIC.
        folder: where runs lie.
        device: such as cpu; "" is what the run's config says.
        top: how many classes each prediction names.
        overrides: of the run's config.

    Raises:
        UserError: no such run, no weights in it, or a model that predicts no classes and no values.
    """
    more = [Override("MODEL.DEVICE", device, "load_predictor")] if device else []
    cfg, weights, _ = find_trained(Path(folder), str(run), [*overrides, *more])
    return Predictor(load_trained(cfg, weights), top=top)


class Predictor:
    """Predicts image files of any kind and size.

    Args:
        top: how many classes each prediction names.

    Raises:
        UserError: the model is one for retrieval.
    """

    def __init__(self, trained: Trained, *, top: int = 5) -> None:
        if trained.kind == "identity":
            raise UserError(
                f"{trained.names[0]} was trained to compare images and names no classes; tools/extract.py gives its features"
            )
        self.trained, self.classes, self.kind = trained, trained.classes, trained.kind
        self.top = min(top, len(self.classes))
        # those that draw from torch's global generator cannot share it
        self.threads = default_threads() if all(getattr(one, "in_threads", False) for one in trained.transforms) else 1

    def __call__(self, files: str | Path | Iterable[str | Path]) -> list[Prediction]:
        """One prediction for each file (or of the one path), in order; of a file that cannot be read it says why."""
        return list(self.stream(files))

    def stream(self, files: str | Path | Iterable[str | Path]) -> Iterator[Prediction]:
        """The same, each as soon as its batch is done. Files are read beside; memory does not grow with their number."""
        paths = (str(file) for file in ([files] if isinstance(files, str | Path) else files))
        for batch in read_ahead(paths, self._read, size=self.trained.batch, threads=self.threads):
            samples = [found for _, found in batch if isinstance(found, dict)]
            said = iter(self._predict(samples) if samples else [])
            for path, found in batch:
                yield Prediction(path, error=found) if isinstance(found, str) else Prediction(path, **next(said))

    def _read(self, number: int, path: str) -> Sample | str:
        """The image, transformed as in a test; or what is wrong with it. Where something is drawn, it is what the test draws
        for its sample of that number."""
        images = ImageFiles("images", [path], [0.0], [], self.trained.channels)
        found = Fetcher(images, self.trained.transforms, self.trained.seed, skip_bad=True).read(0, 0, number)
        if isinstance(found, tuple):
            return found[1].removesuffix(" (sample 0)")
        return {"image": found["image"], "index": number}

    @torch.no_grad()
    def _predict(self, samples: list[Sample]) -> list[dict[str, Any]]:
        """What is said of each, by the names in `Prediction`."""
        trained = self.trained
        image = trained.prepare(collate_batch(samples))["image"]
        autocast = trained.autocast
        with torch.autocast(trained.device.type, dtype=autocast) if autocast is not None else nullcontext():
            outputs: Any = trained.ask(image)
        if self.kind == "value":
            values = entry(outputs, "prediction")
            return [{"prediction": str(value)} for value in values.float().flatten().tolist()]
        logits = entry(outputs, "logits").float()
        if self.kind == "labels":
            return self._labels(logits)
        return [{"prediction": top[0][0], "confidence": top[0][1], "top": top} for top in self._top(logits.softmax(dim=1))]

    def _labels(self, logits: Tensor) -> list[dict[str, Any]]:
        confidence = logits.abs().sigmoid().min(dim=1).values.tolist()
        said = ["|".join(name for name, is_there in zip(self.classes, row, strict=True) if is_there) for row in logits > 0]
        rows = zip(said, confidence, self._top(logits.sigmoid()), strict=True)
        return [{"prediction": text, "confidence": sure, "top": top} for text, sure, top in rows]

    def _top(self, probabilities: Tensor) -> list[tuple[tuple[str, float], ...]]:
        values, numbers = probabilities.topk(max(self.top, 1), dim=1)
        rows = zip(numbers.tolist(), values.tolist(), strict=True)
        return [tuple((self.classes[n], value) for n, value in zip(*row, strict=True)) for row in rows]
