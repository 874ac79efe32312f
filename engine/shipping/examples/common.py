"""An image file as the model takes it, and the model's output in words. Needs NumPy and Pillow; beside it lies
preprocessing.json."""

import json
from pathlib import Path

import numpy
from PIL import Image

FACTS = json.loads((Path(__file__).parent / "preprocessing.json").read_text(encoding="utf-8"))


def read(path):
    """C x H x W uint8."""
    steps = FACTS["steps"]
    unknown = [step["other"] for step in steps if "other" in step]
    if unknown:
        raise SystemExit(f"take these steps of the run's test here, in common.py: {', '.join(unknown)}")
    with Image.open(path) as image:
        (width, height), scale = image.size, 1
        if image.format == "JPEG" and steps and steps[0].get("draft"):  # as in training, a large JPEG is decoded smaller
            room = min(height // steps[0]["resize"][0], width // steps[0]["resize"][1])
            scale = next(scale for scale in (8, 4, 2, 1) if scale <= max(room, 1))
            image.draft(None, (width // scale, height // scale))
        flat = eight_bit(image).convert("L" if FACTS["color"] == "grey" else "RGB")
        flat = flat.crop((0, 0, width // scale, height // scale))
    for step in steps:
        flat = take(flat, *next(iter(step.items())))
    pixels = numpy.array(flat)
    return pixels[None] if pixels.ndim == 2 else numpy.ascontiguousarray(pixels.transpose(2, 0, 1))


def eight_bit(image):
    """16-bit greys scaled, transparency laid over white; no pixels whose full scale is unknown."""
    if image.mode == "F":
        raise SystemExit("floating-point pixels: convert the image to 8 or 16 bits")
    if image.mode.startswith("I"):
        values = numpy.asarray(image).astype(numpy.int64)
        if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise SystemExit("pixels beyond 16 bits: convert the image to 8 or 16 bits")
        return Image.fromarray((values // 257 if values.max(initial=0) > 255 else values).astype(numpy.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image


def take(image, name, size):
    """One step: resize, resize_shorter or center_crop."""
    width, height = image.size
    if name == "center_crop":
        tall, wide = size
        left = round((width - wide) / 2) if width >= wide else -((wide - width) // 2)
        top = round((height - tall) / 2) if height >= tall else -((tall - height) // 2)
        return image.crop((left, top, left + wide, top + tall))  # black where there is no image
    if name == "resize_shorter":
        short, long = sorted(image.size)
        longer = int(size * long / short)
        size = (size, longer) if height <= width else (longer, size)
    return image if (height, width) == tuple(size) else image.resize((size[1], size[0]), Image.Resampling.BILINEAR)


def say(output):
    """What the model's output for one image means."""
    kind, classes = FACTS["output"]["kind"], FACTS["classes"]
    output = numpy.asarray(output, dtype=numpy.float64).reshape(-1)
    if kind == "value":
        return f"{output[0]:.6g}"
    if kind == "identity":
        return f"a feature of {len(output)} numbers, of length {numpy.linalg.norm(output):.4g}"
    if kind == "labels":
        shares = 1 / (1 + numpy.exp(-output))
        return ", ".join(f"{classes[n]} {shares[n]:.4f}" for n in numpy.flatnonzero(shares > 0.5)) or "none of the classes"
    shares = numpy.exp(output - output.max())
    shares /= shares.sum()
    return ", ".join(f"{classes[n]} {shares[n]:.4f}" for n in numpy.argsort(-shares)[:3])
