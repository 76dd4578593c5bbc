"""Examples as the trainer reads them: boxes lie on the canvas where the image processor puts the film."""

import numpy as np
import pytest
from PIL import Image

from anatomy_vlm.processing import AnatomyVLMImageProcessorPil
from anatomy_vlm.processing.contrastive_sampler import ContrastiveLabelSampler
from anatomy_vlm.processing.phrase_book import PhraseBook
from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES
from anatomy_vlm.training.prepared import prepare_example, unpack


@pytest.mark.parametrize("do_pad", [True, False])
def test_boxes_hold_what_they_held_on_the_film(do_pad):
    """A white square on black, left of the middle of a wide film: its box must be white on the canvas, too."""
    levels = np.zeros((40, 100), np.uint8)
    levels[10:30, 20:50] = 255
    boxes = np.tile(np.array([0.2, 0.25, 0.5, 0.75], np.float32), (len(REGION_NAMES), 1))
    example = {
        "image": Image.fromarray(levels),
        "image_id": "square",
        "boxes": boxes,
        "box_mask": np.ones(len(REGION_NAMES), bool),
        "labels": np.full(len(FINDING_NAMES), np.nan, np.float32),
        "region_findings": [],
    }
    processor = AnatomyVLMImageProcessorPil(size={"height": 64, "width": 64}, do_pad=do_pad)
    sampler = ContrastiveLabelSampler(PhraseBook([]), seed=0)
    row = unpack(prepare_example(example, processor, 64, sampler))
    x0, y0, x1, y1 = (row["boxes"][0] * 64).round().long().tolist()
    white = row["pixels"] > 127
    assert white[y0:y1, x0:x1].float().mean() > 0.9
    assert white.sum() <= 1.2 * (x1 - x0) * (y1 - y0)  # edges fall between pixels
    assert (x0 + x1) / 2 < 32, "it lies on the image's left, the patient's right"
