"""Runs in a process of its own: loads an exported mask writer where the package cannot be imported.

python remote_writer.py FOLDER OUT
"""

import importlib.abc
import sys
from pathlib import Path


class Absent(importlib.abc.MetaPathFinder):
    """The package is not installed, whatever the environment holds."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "anatomy_vlm":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


sys.meta_path.insert(0, Absent())

import torch  # noqa: E402
from PIL import Image  # noqa: E402
from transformers import AutoImageProcessor, AutoModelForMaskGeneration  # noqa: E402


folder, out = Path(sys.argv[1]), Path(sys.argv[2])
film = Image.open(folder.parent / "film.png")
processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForMaskGeneration.from_pretrained(folder, trust_remote_code=True).eval()
pixel_values = processor(film, return_tensors="pt")["pixel_values"]
names = list(model.config.structures)
rows = [model.generate(pixel_values, decoder_input_ids=model.prompt([name])) for name in names]
results = {
    "tokens": torch.cat(rows),
    "masks": model.decode_masks(torch.cat(rows), (film.height, film.width)),
    "rasters": model.write_masks(pixel_values, names).rasters,
    "classes": [type(thing).__module__ for thing in (model, model.config, processor)],
}
assert not any(name.partition(".")[0] == "anatomy_vlm" for name in sys.modules)
torch.save(results, out)
