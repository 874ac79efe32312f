"""What model.onnx says of image files: python run_onnx.py a.jpg b.png   (pip install onnxruntime numpy pillow)"""

import sys
from pathlib import Path

import numpy
import onnxruntime
from common import read, say

session = onnxruntime.InferenceSession(str(Path(__file__).parent / "model.onnx"), providers=["CPUExecutionProvider"])
images = numpy.stack([read(path) for path in sys.argv[1:]])  # B x C x H x W uint8, any B; the model normalises
(outputs,) = session.run(None, {"image": images})
for path, output in zip(sys.argv[1:], outputs, strict=True):
    print(f"{path}: {say(output)}")
