"""Anatomy-VLM under Transformers' common tests.

Not collected with the other tests: the common tests are no part of the installed package, so a harness that lays them
out as `hf_common` (from the source distribution of Transformers) runs this file by name.
"""

import copy
import unittest

import torch
from hf_common.test_configuration_common import ConfigTester
from hf_common.test_image_processing_common import (
    ImageProcessingTester,
    ImageProcessingTestMixin,
    PostProcessSemanticSegmentationTestMixin,
)
from hf_common.test_modeling_common import ModelTesterMixin
from hf_common.test_processing_common import ProcessorTesterMixin
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING
from transformers.utils import is_torchvision_available

from anatomy_vlm.modeling import (
    AnatomyVLMConfig,
    AnatomyVLMForSemanticSegmentation,
    AnatomyVLMModel,
    AnatomyVLMSegmentationConfig,
    AnatomyVLMVisionConfig,
    AnatomyVLMVisionModel,
)
from anatomy_vlm.processing import AnatomyVLMImageProcessorPil, AnatomyVLMProcessor


class AnatomyVLMVisionModelTester:
    def __init__(self, parent, batch_size=3, image_size=16, patch_size=4, hidden_size=32, num_hidden_layers=2):
        self.parent = parent
        self.batch_size = batch_size
        self.image_size = image_size
        self.patch_size = patch_size
        self.num_channels = 3
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = 4
        self.intermediate_size = 37
        self.num_anatomy_queries = 29
        self.num_register_tokens = 2
        self.is_training = False  # a tower has no loss
        self.seq_length = 1 + self.num_anatomy_queries + self.num_register_tokens + (image_size // patch_size) ** 2

    def get_config(self):
        return AnatomyVLMVisionConfig(
            image_size=self.image_size,
            patch_size=self.patch_size,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            intermediate_size=self.intermediate_size,
            num_anatomy_queries=self.num_anatomy_queries,
            num_register_tokens=self.num_register_tokens,
            layerscale_value=0.5,
        )

    def prepare_config_and_inputs_for_common(self):
        pixel_values = torch.rand(self.batch_size, self.num_channels, self.image_size, self.image_size)
        return self.get_config(), {"pixel_values": pixel_values}


class AnatomyVLMVisionModelTest(ModelTesterMixin, unittest.TestCase):
    all_model_classes = (AnatomyVLMVisionModel,)
    test_resize_embeddings = False
    test_can_init_all_missing_weights_before_2023 = True

    def setUp(self):
        self.model_tester = AnatomyVLMVisionModelTester(self)
        self.config_tester = ConfigTester(
            self, config_class=AnatomyVLMVisionConfig, has_text_modality=False, hidden_size=36
        )

    def test_config(self):
        self.config_tester.run_common_tests()

    @unittest.skip(reason="a vision tower has no `inputs_embeds`")
    def test_inputs_embeds(self):
        pass

    @unittest.skip(reason="a vision tower embeds patches with a convolution")
    def test_model_get_set_embeddings(self):
        pass


class AnatomyVLMStemVisionModelTester(AnatomyVLMVisionModelTester):
    """The tower as it is trained from scratch: a convolutional stem, no registers, no LayerScale."""

    def __init__(self, parent, **kwargs):
        super().__init__(parent, **kwargs)
        self.seq_length -= self.num_register_tokens
        self.num_register_tokens = 0

    def get_config(self):
        config = super().get_config()
        config.stem_channels, config.layerscale_value = [8, 12], None
        return config


class AnatomyVLMStemVisionModelTest(AnatomyVLMVisionModelTest):
    def setUp(self):
        super().setUp()
        self.model_tester = AnatomyVLMStemVisionModelTester(self)


class AnatomyVLMSegmentationModelTester(AnatomyVLMVisionModelTester):
    def __init__(self, parent, **kwargs):
        super().__init__(parent, **kwargs)
        self.is_training = True

    def get_config(self):
        tower = super().get_config().to_dict()
        tower.pop("model_type")
        return AnatomyVLMSegmentationConfig(**{**tower, "num_labels": 3, "decoder_channels": [12, 8]})

    def prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs_dict = copy.deepcopy(inputs_dict)
        if return_labels:
            shape = (self.batch_size, 2, self.image_size, self.image_size)
            inputs_dict["labels"] = torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(0)).float()
        return inputs_dict


class AnatomyVLMForSemanticSegmentationTest(ModelTesterMixin, unittest.TestCase):
    all_model_classes = (AnatomyVLMForSemanticSegmentation,)
    test_resize_embeddings = False
    test_can_init_all_missing_weights_before_2023 = True

    def setUp(self):
        self.model_tester = AnatomyVLMSegmentationModelTester(self)
        self.config_tester = ConfigTester(
            self, config_class=AnatomyVLMSegmentationConfig, has_text_modality=False, hidden_size=36
        )

    def test_config(self):
        self.config_tester.run_common_tests()

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        return self.model_tester.prepare_for_class(inputs_dict, model_class, return_labels)

    @unittest.skip(reason="a vision model has no `inputs_embeds`")
    def test_inputs_embeds(self):
        pass

    @unittest.skip(reason="a vision tower embeds patches with a convolution")
    def test_model_get_set_embeddings(self):
        pass


class AnatomyVLMModelTester:
    def __init__(self, parent, batch_size=3):
        self.parent = parent
        self.batch_size = batch_size
        self.vision_model_tester = AnatomyVLMVisionModelTester(parent, batch_size)
        self.seq_length = 7
        self.is_training = True
        self.text_config = {
            "model_type": "bert",
            "vocab_size": 99,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 37,
            "max_position_embeddings": 64,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        }
        self.num_hidden_layers = 2

    def get_config(self):
        return AnatomyVLMConfig(
            vision_config=self.vision_model_tester.get_config().to_dict(),
            text_config=self.text_config,
            projection_dim=16,
        )

    def prepare_config_and_inputs_for_common(self):
        _, inputs = self.vision_model_tester.prepare_config_and_inputs_for_common()
        inputs["input_ids"] = torch.randint(1, self.text_config["vocab_size"], (self.batch_size, self.seq_length))
        inputs["attention_mask"] = torch.ones(self.batch_size, self.seq_length, dtype=torch.long)
        return self.get_config(), inputs

    def prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs_dict = copy.deepcopy(inputs_dict)
        if return_labels:
            num_texts, shape = len(inputs_dict["input_ids"]), (self.batch_size, 29)
            seeded = {"generator": torch.Generator().manual_seed(0)}  # prepared twice, to be compared
            corner = torch.rand(*shape, 2, **seeded) / 2
            inputs_dict["boxes"] = torch.cat((corner, corner + 0.25), dim=-1)
            inputs_dict["box_mask"] = torch.rand(*shape, **seeded) > 0.2
            inputs_dict["image_labels"] = torch.randint(0, 2, (self.batch_size, num_texts), **seeded).float()
            inputs_dict["region_labels"] = torch.randint(0, 2, (*shape, num_texts), **seeded).float()
        return inputs_dict


class AnatomyVLMModelTest(ModelTesterMixin, unittest.TestCase):
    all_model_classes = (AnatomyVLMModel,)
    additional_model_inputs = ["input_ids"]
    test_all_params_have_gradient = False  # the text encoder is frozen
    test_resize_embeddings = False
    test_can_init_all_missing_weights_before_2023 = True
    _is_composite = True

    def setUp(self):
        self.model_tester = AnatomyVLMModelTester(self)
        self.config_tester = ConfigTester(
            self, config_class=AnatomyVLMConfig, has_text_modality=False, common_properties=["projection_dim"]
        )

    def test_config(self):
        self.config_tester.run_common_tests()

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        return self.model_tester.prepare_for_class(inputs_dict, model_class, return_labels)

    @unittest.skip(reason="hidden states are tested on the towers")
    def test_hidden_states_output(self):
        pass

    @unittest.skip(reason="hidden states are tested on the towers")
    def test_can_capture_specific_layers_hidden_states(self):
        pass

    @unittest.skip(reason="hidden states are tested on the towers")
    def test_retain_grad_hidden_states_attentions(self):
        pass

    @unittest.skip(reason="attentions are tested on the towers")
    def test_attention_outputs(self):
        pass

    @unittest.skip(reason="the model takes `input_ids`, not `inputs_embeds`")
    def test_inputs_embeds(self):
        pass


class AnatomyVLMImageProcessingTester(ImageProcessingTester):
    def __init__(self, parent, **kwargs):
        kwargs.setdefault("size", {"height": 18, "width": 18})
        super().__init__(parent, min_resolution=20, max_resolution=60, **kwargs)
        self.num_labels = 4  # of the masks that are post-processed

    def _get_image_processing_classes(self):
        return dict(IMAGE_PROCESSOR_MAPPING[AnatomyVLMConfig])


class AnatomyVLMImageProcessingTest(
    ImageProcessingTestMixin, PostProcessSemanticSegmentationTestMixin, unittest.TestCase
):
    image_processor_tester_class = AnatomyVLMImageProcessingTester
    backend_equivalence_atol = 8e-3  # one gray level after normalisation

    @unittest.skipUnless(is_torchvision_available(), reason="torchvision is not installed")
    def test_new_models_require_torchvision_backend(self):
        super().test_new_models_require_torchvision_backend()


class AnatomyVLMProcessorTest(ProcessorTesterMixin, unittest.TestCase):
    processor_class = AnatomyVLMProcessor

    @staticmethod
    def prepare_processor_dict():
        return {
            "anatomy_labels": ["right lung", "left lung"],
            "finding_prompts": {"pneumothorax": {"positive": ["pneumothorax"], "negative": ["no pneumothorax"]}},
            "finding_thresholds": {"pneumothorax": 0.4},
        }

    @classmethod
    def _setup_image_processor(cls):
        return AnatomyVLMImageProcessorPil()

    @classmethod
    def _setup_tokenizer(cls):
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "lower", "newer", "upper", "older", "longer", "string"]
        tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
        )
