"""Features of a folder of images by a run's best weights, into one file.

python tools/extract.py last photos/
python tools/extract.py <run> photos/ -o photos.npz --device cuda

    file = numpy.load("photos.npz", allow_pickle=False)
    file["features"], file["paths"]          # N x D float32; N texts
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import _root

import config
from utils.errors import RunFailed, UserError
from utils.logger import setup_logger


def main(argv: Sequence[str]) -> int:
    """Writes the file and says how many features of which length are in it; 1 where an image could not be read."""
    args = config.parse_arguments(argv, tool="extract")
    setup_logger()
    from engine.features import features_of, images_below
    from engine.named_weights import find_trained

    given = config.load(args)
    cfg, weights, path = find_trained(given.runs_folder, args.run, args.overrides)
    files = images_below(args.folder)
    out = Path(args.out or f"features_{Path(args.folder).resolve().stem}.npz")
    if out.suffix != ".npz":
        raise UserError(f"-o {out}: the file is a .npz, which numpy.load reads")
    if not out.resolve().parent.is_dir():
        raise UserError(f"-o {out}: there is no folder {out.parent}; make it first")
    features, bad = features_of(cfg, weights, files)
    if not len(features):
        raise RunFailed(f"none of the {len(files)} images below {args.folder} can be read")
    unread = set(bad)
    write(out, features.numpy(), [file for file in files if file not in unread])
    rows, width = features.shape
    if args.json:
        facts = {"file": str(out), "run": path.name, "weights": weights.name, "images": rows, "dim": width, "bad": bad}
        print(json.dumps(facts))
    else:
        print(f"{out}: features {rows} x {width} (float32) and paths, by {weights.name} of {path.name}")
        if bad:
            print(f"left out: {len(bad)} of {len(files)} images, which cannot be read")
    return 1 if bad else 0


def write(out: Path, features: object, paths: list[str]) -> None:
    """Both arrays, whole or not at all; no pickle is in it."""
    import numpy

    from utils.files import write_atomic

    content = io.BytesIO()
    numpy.savez(content, features=numpy.asarray(features), paths=numpy.array(paths, dtype=numpy.str_))
    write_atomic(out, content.getvalue())


if __name__ == "__main__":
    _root.run_tool(main)
