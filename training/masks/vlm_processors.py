"""Processors of vision-language models, also of those that come with one for videos where torchvision is missing."""

from typing import Any

import transformers
from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer
from transformers.processing_utils import ProcessorMixin
from transformers.utils import is_torchvision_available


_QWEN = ("Qwen2VLProcessor", "Qwen2_5_VLProcessor")
# SmolVLM's processor prepares pictures as that of Idefics 3 does; beyond it knows videos alone.
_IDEFICS = ("SmolVLMProcessor",)


def load_processor(source: str) -> Any:
    """
    The processor of a checkpoint.

    Qwen2-VL's, Qwen2.5-VL's and SmolVLM 2's can only be made with torchvision, for the sake of videos; without it they
    are made for pictures alone, with the same prompts.

    Raises:
        ValueError: if there is none.
    """
    try:
        name = "" if is_torchvision_available() else _class_name(source)
        if name not in (*_QWEN, *_IDEFICS):
            return AutoProcessor.from_pretrained(source)
        settings, _ = ProcessorMixin.get_processor_dict(source)
        pictures, words = AutoImageProcessor.from_pretrained(source), AutoTokenizer.from_pretrained(source)
        chat_template = settings.get("chat_template") or getattr(words, "chat_template", None)
        if name in _QWEN:
            return qwen_processor(name, pictures, words, chat_template)
        length = settings.get("image_seq_len", 169)
        return transformers.Idefics3Processor(pictures, words, image_seq_len=length, chat_template=chat_template)
    except (OSError, ImportError) as error:
        raise ValueError(f"{source}: no processor can be had: {' '.join(str(error).split())}") from error


def qwen_processor(name: str, image_processor: Any, tokenizer: Any, chat_template: str | None) -> Any:
    """A processor of Qwen2-VL or Qwen2.5-VL for pictures alone; saved it is an ordinary one."""
    whole = getattr(transformers, name)

    class PicturesOnly(whole):  # type: ignore[misc, valid-type]
        def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None):
            self.image_token = getattr(tokenizer, "image_token", "<|image_pad|>")
            self.video_token = getattr(tokenizer, "video_token", "<|video_pad|>")
            self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
            self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
            ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    # What is saved names its class, and shall load everywhere.
    PicturesOnly.__name__ = name
    return PicturesOnly(image_processor, tokenizer, chat_template)


def _class_name(source: str) -> str:
    """Class of a checkpoint's processor, "" if its files do not say."""
    settings, _ = ProcessorMixin.get_processor_dict(source)
    name = settings.get("processor_class")
    if not name:
        try:
            images, _ = transformers.ImageProcessingMixin.get_image_processor_dict(source)
        except OSError:
            return ""
        name = images.get("processor_class")
    return str(name or "")
