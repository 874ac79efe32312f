"""What model.pt2 says of image files: python run_torch_export.py a.jpg b.png   (pip install torch numpy pillow)"""

import sys
from pathlib import Path

import numpy
import torch
from common import read, say

model = torch.export.load(Path(__file__).parent / "model.pt2").module()
images = torch.from_numpy(numpy.stack([read(path) for path in sys.argv[1:]]))  # B x C x H x W uint8; the model normalises
with torch.no_grad():
    outputs = model(images)
for path, output in zip(sys.argv[1:], outputs, strict=True):
    print(f"{path}: {say(output)}")
