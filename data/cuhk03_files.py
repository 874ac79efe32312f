"""The files of CUHK03: MATLAB's, of which one holds all images and is HDF5."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
from PIL import Image

from utils.errors import UserError

_RELEASE = Path("cuhk03_release", "cuhk-03.mat")
_SOURCE = "Its authors give it out for research: www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html"
_PROTOCOL = "github.com/zhunzhong07/person-re-ranking has it (evaluation/data/CUHK03)"


def extracted(base: Path, kind: str) -> Path:
    """The folder of the labeled or detected images; made from cuhk-03.mat where it is not there yet. It appears whole or not
    at all, also where several processes make it.

    Raises:
        UserError: as for `_opened`; or no room.
    """
    folder = base / f"images_{kind}"
    if folder.is_dir():
        return folder
    with _opened(base) as file:
        scratch = Path(tempfile.mkdtemp(prefix=f".images_{kind}_", dir=base))
        try:
            with _as_published(base):
                _extract(file, kind, scratch)
            os.chmod(scratch, 0o755)
            if not folder.is_dir():
                os.rename(scratch, folder)
        except OSError as error:
            if not folder.is_dir():
                raise UserError(f"cuhk03: could not write {folder} ({error}); make room there") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _extract(file: Any, kind: str, folder: Path) -> None:
    for pair, reference in enumerate(file[kind][0], 1):
        for person, images in enumerate(file[reference][:].T, 1):
            for number, image in enumerate(images, 1):
                pixels = file[image][:].T  # height x width x 3, or an empty cell
                if pixels.ndim == 3:
                    name = f"{pair}_{person:03}_{1 if number <= 5 else 2}_{number:02}.png"
                    Image.fromarray(numpy.ascontiguousarray(pixels)).save(folder / name)


def classic_tests(base: Path, split: int) -> set[str]:
    """The people of one of the 20 test sets, such as 1_001.

    Raises:
        UserError: as for `_opened`.
    """
    with _opened(base) as file, _as_published(base):
        rows = file[file["testsets"][0][split]][:].T.astype(int)
    return {f"{pair}_{person:03}" for pair, person in rows.tolist()}


def new_protocol(base: Path, kind: str) -> dict[str, list[tuple[str, int]]]:
    """File and person of each image of "train", "query" and "gallery".

    Raises:
        UserError: the file is missing or not as published.
    """
    from scipy.io import loadmat  # slow to import

    path = base / f"cuhk03_new_protocol_config_{kind}.mat"
    if not path.is_file():
        raise UserError(f"cuhk03: {path} is missing; {_PROTOCOL}; or take the splits of 2014: cuhk03:{kind},classic")
    try:
        raw = loadmat(path)
        files, labels = raw["filelist"].flatten(), raw["labels"].flatten()
        rows = {part: raw[f"{part}_idx"].flatten() - 1 for part in ("train", "query", "gallery")}
        return {part: [(str(files[row][0]), int(labels[row])) for row in rows[part].tolist()] for part in rows}
    except (KeyError, IndexError, ValueError, TypeError, NotImplementedError, OSError) as error:
        raise UserError(f"cuhk03: {path} is not as published ({error}); {_PROTOCOL}") from error


@contextlib.contextmanager
def _as_published(base: Path) -> Iterator[None]:
    """Within, what is missing in cuhk-03.mat is a mistake of the user's."""
    try:
        yield
    except (KeyError, IndexError, ValueError) as error:
        raise UserError(f"cuhk03: {base / _RELEASE} is not as published ({error}); unpack it again") from error


def _opened(base: Path) -> Any:
    path = base / _RELEASE
    if not path.is_file():
        raise UserError(
            f"cuhk03: {path} is missing; unpack cuhk03_release.zip in {base}. {_SOURCE}; DATASETS.ROOT names the folder that "
            "it lies below"
        )
    try:
        import h5py
    except ImportError as error:
        raise UserError(f"cuhk03: {path} is HDF5, and reading it needs h5py; pip install h5py") from error
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise UserError(f"cuhk03: {path} cannot be read ({error}); unpack it again") from error
