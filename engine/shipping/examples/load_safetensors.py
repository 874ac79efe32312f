"""The weights in model.safetensors, by name: python load_safetensors.py   (pip install safetensors numpy)

They are those of the bare model, which has to be made by code of yours, such as the run's own copy in scripts/:

    model.load_state_dict(safetensors.torch.load_file("model.safetensors"))

It takes floats: common.py's read(path), then (x / 255 - mean) / std with what preprocessing.json says "inside_the_model".
"""

from pathlib import Path

from safetensors.numpy import load_file

weights = load_file(Path(__file__).parent / "model.safetensors")
for name, values in weights.items():
    print(f"{name:<40} {'x'.join(map(str, values.shape)) or 'one number':<16} {values.dtype}")
print(f"{len(weights)} tensors, {sum(values.size for values in weights.values()):,} numbers")
