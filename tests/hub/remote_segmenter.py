"""Runs in a process of its own: loads an exported segmentation model where the package cannot be imported.

python remote_segmenter.py FOLDER OUT
"""

import sys
from pathlib import Path

import package_absent  # noqa: F401
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation


folder, out = Path(sys.argv[1]), Path(sys.argv[2])
film = Image.open(folder.parent / "film.png")
processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForSemanticSegmentation.from_pretrained(folder, trust_remote_code=True).eval()
with torch.no_grad():
    outputs = model(**processor(film, return_tensors="pt"))
size = [(film.height, film.width)]
results = {
    "logits": outputs.logits,
    "masks": processor.post_process_multi_label_segmentation(outputs, size)[0],
    "labels": processor.post_process_semantic_segmentation(outputs, size)[0],
    "classes": [type(thing).__module__ for thing in (model, model.config, processor)],
    "names": model.config.id2label,
}
assert not any(name.partition(".")[0] == "anatomy_vlm" for name in sys.modules)
torch.save(results, out)
