"""Runs in a process of its own: loads repositories by id, with or without the package, and prints what came out.

python hub_reader.py with-package|without-package REPO[@REVISION] ...
"""

import json
import sys


installed = sys.argv[1] == "with-package"
if installed:
    import anatomy_vlm  # noqa: F401
else:
    import package_absent  # noqa: F401

import torch  # noqa: E402
from transformers import AutoModel, AutoProcessor  # noqa: E402


results = {}
for name in sys.argv[2:]:
    repo_id, _, revision = name.partition("@")
    options = {"revision": revision or "main"}
    if not installed:
        options |= {"trust_remote_code": True, "code_revision": revision or "main"}
    model = AutoModel.from_pretrained(repo_id, **options).eval()
    processor = AutoProcessor.from_pretrained(repo_id, **options)
    inputs = processor(text=processor.prompt_texts(), return_tensors="pt")
    with torch.no_grad():
        outputs = model(pixel_values=torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32), **inputs)
    results[name] = {
        "module": type(model).__module__.partition(".")[0],
        "boxes": outputs.pred_boxes.flatten().tolist(),
        "scores": outputs.logits_per_region.flatten().tolist(),
    }
print(json.dumps(results))
