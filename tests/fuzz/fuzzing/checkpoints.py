"""Folders of models: config.json, processor_config.json, tokenizer files, headers of safetensors, code beside them."""

import json
import shutil
import struct
import sys
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import BertConfig

from anatomy_vlm.modeling import AnatomyVLMConfig, AnatomyVLMModel
from anatomy_vlm.processing import AnatomyVLMImageProcessorPil, AnatomyVLMProcessor
from anatomy_vlm.processing.prompts import finding_prompts
from anatomy_vlm.processing.vocabulary import REGION_NAMES
from anatomy_vlm.training.model_folder import CheckpointError, load_checkpoint
from anatomy_vlm.training.text_encoder import word_tokenizer
from fuzzing.expect import Finding, attempt, outcome
from fuzzing.mutate import bytes_of, data_of, dump_json


_SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
MARK = "anatomy_vlm_fuzz_was_here"
CODE = f"import sys\nsys.{MARK} = True\nclass Evil:\n    pass\n"
_MAPS = ("evil.Evil", "evil/repo--evil.Evil", "../evil.Evil", ["evil.Evil", "evil.Evil"], None)
_AUTO = (
    "AutoConfig",
    "AutoModel",
    "AutoProcessor",
    "AutoTokenizer",
    "AutoImageProcessor",
    "AutoModelForObjectDetection",
)


class Checkpoints:
    """Loads a folder with one changed file, and scores a film with what loads."""

    name = "checkpoint"

    def __init__(self, folder: Path, heavy: bool = False) -> None:
        self.seed, self.folder = folder / "seed", folder / "model"
        write_model(self.seed)
        self.film = Image.fromarray(np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1)))

    def case(self, random: Random) -> str:
        shutil.copytree(self.seed, self.folder)
        try:
            name = self._change(random)
            loaded = attempt(CheckpointError, load_checkpoint, self.folder)
            if not isinstance(loaded, Exception):
                attempt(ValueError, _score, *loaded, self.film)
            if hasattr(sys, MARK):
                delattr(sys, MARK)
                raise Finding(f"code of the folder ran: {name}")
            return f"{name} {outcome(loaded)}"
        finally:
            shutil.rmtree(self.folder)

    def _change(self, random: Random) -> str:
        files = sorted(path for path in self.folder.iterdir() if path.is_file())
        path = random.choice([*files, *(file for file in files if file.name.endswith("config.json"))])
        if path.suffix == ".safetensors":
            path.write_bytes(_odd_tensors(random, path.read_bytes()))
            return path.name
        value = json.loads(path.read_text(encoding="utf-8"))
        if random.random() < 0.3:
            _poison(random, value, self.folder)
        else:
            value = data_of(random, value, 2)
        data = dump_json(value).encode("utf-8", "surrogatepass")
        path.write_bytes(bytes_of(random, data) if random.random() < 0.1 else data)
        return path.name


def write_model(folder: Path) -> None:
    """A tiny untrained model with its processor."""
    prompts = finding_prompts(["pleural effusion", "pneumothorax"])
    texts = [text for pair in prompts.values() for side in pair.values() for text in side]
    tokenizer = word_tokenizer(texts, 32)
    torch.manual_seed(0)
    config = AnatomyVLMConfig(
        vision_config={**_SIZES, "image_size": 32, "patch_size": 8},
        text_config=BertConfig(**_SIZES, vocab_size=len(tokenizer), max_position_embeddings=32).to_dict(),
        projection_dim=8,
    )
    image_processor = AnatomyVLMImageProcessorPil(size={"height": 32, "width": 32})
    processor = AnatomyVLMProcessor(
        image_processor, tokenizer, anatomy_labels=list(REGION_NAMES), finding_prompts=prompts
    )
    AnatomyVLMModel(config).save_pretrained(folder)
    processor.save_pretrained(folder)


def _poison(random: Random, value: dict[str, Any], folder: Path) -> None:
    """What makes Transformers look for code, other weights or very many of them."""
    (folder / "evil.py").write_text(CODE, encoding="utf-8")
    target = random.choice([value, *(inner for inner in value.values() if isinstance(inner, dict))])
    kind = random.randrange(6)
    if kind == 0:
        target["auto_map"] = {name: random.choice(_MAPS) for name in random.sample(_AUTO, 3)}
    elif kind == 1:
        key = random.choice(("attn_implementation", "_attn_implementation", "experts_implementation"))
        target[key] = random.choice(
            ("evil/kernel", "kernels-community/flash-attn", "flex_attention", "", 3, {"": "evil/kernel"})
        )
    elif kind == 2:
        target["quantization_config"] = random.choice(
            ({"quant_method": "gptq", "bits": 4}, {"quant_method": "evil"}, {}, 1)
        )
    elif kind == 3:
        numbers = [key for key, inner in target.items() if isinstance(inner, int)] or ["hidden_size"]
        target[random.choice(numbers)] = random.choice((10**5, 10**6, 10**9, 2**62, -1, 0))
    elif kind == 4:
        target["model_type"] = random.choice(
            ("gpt2", "evil", "bert", "anatomy_vlm", "anatomy_vlm_vision", "llava", None)
        )
    else:
        (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "evil/repo", "peft_type": "LORA"}')


def _odd_tensors(random: Random, data: bytes) -> bytes:
    if random.random() < 0.4:
        return bytes_of(random, data)
    (size,) = struct.unpack("<Q", data[:8])
    header = data_of(random, json.loads(data[8 : 8 + size]))
    text = dump_json(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def _score(model: Any, processor: Any, film: Image.Image) -> None:
    with torch.no_grad():
        inputs = processor(images=film, text=processor.prompt_texts(), return_tensors="pt")
        processor.post_process_anatomy(model(**inputs), target_sizes=[(48, 64)])
