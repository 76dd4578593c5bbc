"""Runs in a process of its own: loads an exported folder where the package cannot be imported, and writes outputs.

python remote_reader.py FOLDER OUT
"""

import sys
from pathlib import Path

import package_absent  # noqa: F401
import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForObjectDetection,
    AutoModelForZeroShotImageClassification,
    AutoProcessor,
)


folder, out = Path(sys.argv[1]), Path(sys.argv[2])
remote = {"trust_remote_code": True}
film = Image.open(folder.parent / "film.png")
processor = AutoProcessor.from_pretrained(folder, **remote)
inputs = processor(images=film, text=processor.prompt_texts(), return_tensors="pt")

results = {"inputs": dict(inputs)}
for auto in (AutoModel, AutoModelForZeroShotImageClassification, AutoModelForObjectDetection):
    model = auto.from_pretrained(folder, **remote).eval()
    with torch.no_grad():
        outputs = model(**inputs)
    names = ("logits_per_image", "logits_per_region", "pred_boxes", "presence_logits", "image_embeds")
    results[auto.__name__] = {name: outputs[name] for name in names}
regions = processor.post_process_anatomy(outputs, target_sizes=[(film.height, film.width)], threshold=0.0)
results["regions"] = regions[0]
image_processor = AutoImageProcessor.from_pretrained(folder, **remote)
results["pixel_values"] = image_processor(film, return_tensors="pt")["pixel_values"]
config = AutoConfig.from_pretrained(folder, **remote)
results["classes"] = [
    f"{type(thing).__module__}.{type(thing).__name__}" for thing in (config, model, processor, image_processor)
]

# The second example of the card is the one that needs nothing but Transformers.
example = (folder / "README.md").read_text(encoding="utf-8").split("```python\n")[2].split("```")[0]
names = {}
exec(example.replace('"film.png"', repr(str(folder.parent / "film.png"))), names)
results["card"] = {"regions": names["regions"], "findings": names["findings"]}

assert not any(name.partition(".")[0] == "anatomy_vlm" for name in sys.modules)
torch.save(results, out)
