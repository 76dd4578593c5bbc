"""Runs in a process of its own: loads an exported mask writer where the package cannot be imported.

python remote_writer.py FOLDER OUT
"""

import sys
from pathlib import Path

import package_absent  # noqa: F401
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForMaskGeneration


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
