"""The phrase bank: every text of a run, embedded once by the frozen encoder and kept on disk."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from anatomy_vlm.modeling import AnatomyVLMModel


# What an encoder's configuration gains by being saved and loaded; its weights tell their type themselves.
OF_THE_FILE = ("_name_or_path", "architectures", "dtype", "transformers_version")


class StaleBankError(ValueError):
    """A stored bank that was made by another encoder, tokenizer or pooling, or for other texts."""


def weights_hash(model: torch.nn.Module) -> str:
    """SHA-256 over the names, shapes and values of a module's parameters and persistent buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def bank_key(encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pooling: str, texts: Sequence[str]) -> str:
    """What a bank depends on, as one hash: encoder weights and configuration, tokenizer, pooling, texts in order."""
    config = encoder.config.to_diff_dict()
    settings = {name: value for name, value in sorted(config.items()) if name not in OF_THE_FILE}
    parts = [weights_hash(encoder), type(encoder).__name__, repr(settings), pooling]
    parts += [type(tokenizer).__name__, repr(sorted(tokenizer.get_vocab().items()))]
    parts += [repr((tokenizer.model_max_length, tokenizer.padding_side, tokenizer.truncation_side))]
    if tokenizer.is_fast:
        backend = json.loads(tokenizer.backend_tokenizer.to_str())
        # Left there by the last call, and set by the next.
        del backend["padding"], backend["truncation"]
        parts.append(json.dumps(backend))
    digest = hashlib.sha256()
    for part in (*parts, *texts):
        # With its length before it, no part runs into the next.
        digest.update(f"{len(part.encode())}:".encode() + part.encode())
    return digest.hexdigest()


@torch.inference_mode()
def embed_texts(
    model: AnatomyVLMModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    batch_size: int = 256,
    progress: bool = False,
) -> torch.Tensor:
    """
    Sentence features of the frozen encoder, before the projection: `(len(texts), text_hidden_size)` in float32.

    Texts are sorted by length inside, so that little is spent on padding.
    """
    encoder, device = model.text_model, model.device
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    features = torch.empty(len(texts), model.text_projection.in_features)
    was_training = encoder.training
    encoder.eval()
    steps = range(0, len(order), batch_size)
    for start in tqdm(steps, desc="Embedding phrases", disable=not progress, leave=False):
        chosen = order[start : start + batch_size]
        inputs = tokenizer([texts[i] for i in chosen], padding=True, truncation=True, return_tensors="pt").to(device)
        features[chosen] = model.sentence_features(**inputs).float().cpu()
    encoder.train(was_training)
    return features


class PhraseBank:
    """
    Features of an ordered list of texts.

    Args:
        texts: The texts, in the order of the rows.
        features: `(len(texts), text_hidden_size)` sentence features of the frozen encoder.
        key: `bank_key` of what made them.
    """

    def __init__(self, texts: Sequence[str], features: torch.Tensor, key: str):
        if len(texts) != len(features):
            raise ValueError(f"a bank of {len(texts)} texts cannot have {len(features)} rows of features")
        self.texts = tuple(texts)
        self.features = features
        self.key = key

    @classmethod
    def build(
        cls,
        model: AnatomyVLMModel,
        tokenizer: PreTrainedTokenizerBase,
        texts: Sequence[str],
        folder: Path | None = None,
        progress: bool = False,
    ) -> "PhraseBank":
        """
        Embed `texts`, or read them from `folder` where this very bank was stored before.

        A stored bank is memory-mapped: the processes of a machine share one copy. Of several that ask at once, one
        embeds and the others wait.
        """
        pooling, length = model.config.text_pooling, model.config.text_length
        pooling = pooling if length is None else f"{pooling} of {length} tokens"
        key = bank_key(model.text_model, tokenizer, pooling, texts)
        if folder is None:
            return cls(texts, embed_texts(model, tokenizer, texts, progress=progress), key)
        path = Path(folder) / f"{key[:16]}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        # The system releases the lock of a process that is killed.
        with FileLock(path.with_suffix(".lock")):
            if not path.is_file():
                cls(texts, embed_texts(model, tokenizer, texts, progress=progress), key).save(path)
        return cls.load(path, texts, key)

    def save(self, path: Path) -> None:
        """Write the features beside their place, then move them there: a reader never sees half a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}")
        save_file({"features": self.features.contiguous()}, scratch, metadata={"key": self.key})
        os.replace(scratch, path)

    @classmethod
    def load(cls, path: Path, texts: Sequence[str], key: str) -> "PhraseBank":
        """
        Read features memory-mapped.

        Raises:
            StaleBankError: if the file was made by another encoder, tokenizer or pooling, or for other texts.
        """
        try:
            with safe_open(path, framework="pt") as file:
                stored = (file.metadata() or {}).get("key")
                if stored != key:
                    raise StaleBankError(
                        f"{path}: this phrase bank was made by another encoder, tokenizer or pooling, or for other "
                        "texts; delete it and it is made again"
                    )
                return cls(texts, file.get_tensor("features"), key)
        except SafetensorError as error:
            raise StaleBankError(f"{path}: not a readable phrase bank ({error}); delete it") from error
