"""Converted towers give the features of their sources, checked against Transformers' own classes on random weights."""

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from anatomy_vlm.modeling import AnatomyVLMVisionModel
from anatomy_vlm.modeling.vision_conversion_anatomy_vlm import convert_vision_tower


SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 32, "patch_size": 8}
MLP = {"intermediate_size": 48}
# One tower per architecture: class, fields of its configuration.
FAMILIES = {
    "vit": ("ViTModel", {**SIZES, **MLP}),
    "vit-without-biases": ("ViTModel", {**SIZES, **MLP, "qkv_bias": False}),
    "deit": ("DeiTModel", {**SIZES, **MLP}),
    "mae": ("ViTMAEModel", {**SIZES, **MLP, "mask_ratio": 0.0}),
    "dinov2": ("Dinov2Model", {**SIZES, "mlp_ratio": 2}),
    "dinov2-giant": ("Dinov2Model", {**SIZES, "mlp_ratio": 2, "use_swiglu_ffn": True}),
    "dinov2-registers": ("Dinov2WithRegistersModel", {**SIZES, "mlp_ratio": 2, "num_register_tokens": 3}),
    "dinov3": ("DINOv3ViTModel", {**SIZES, **MLP, "num_register_tokens": 2}),
    "dinov3-gated": ("DINOv3ViTModel", {**SIZES, **MLP, "use_gated_mlp": True, "hidden_act": "silu"}),
    "clip": ("CLIPVisionModel", {**SIZES, **MLP}),
    "siglip": ("SiglipVisionModel", {**SIZES, **MLP}),
    "siglip-rest": ("SiglipVisionModel", {**SIZES, **MLP, "image_size": 37}),
    "naflex": ("Siglip2VisionModel", {**SIZES, **MLP, "num_patches": 16}),
}
QUERIES = {"query_attention": "read_only", "num_anatomy_queries": 5}


def random_tower(family: str) -> PreTrainedModel:
    """A tower whose every parameter, norms, biases and positions too, is random and matters."""
    name, fields = FAMILIES[family]
    fields = {key: value for key, value in fields.items() if not (family == "naflex" and key == "image_size")}
    cls = getattr(transformers, name)
    model = cls(cls.config_class(**fields))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator) + (parameter.ndim == 1) * 0.5)
    return model.eval()


@torch.no_grad()
def source_features(model: PreTrainedModel, images: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
    """[CLS] `(B, D)` or None, and patches `(B, N, D)`, after the last layer norm."""
    name, size = type(model).__name__, model.config.patch_size
    if name == "ViTMAEModel":
        grid = (images.shape[-2] // size) * (images.shape[-1] // size)
        order = torch.arange(grid, dtype=torch.float32).expand(len(images), -1)
        states = model(images, noise=order, interpolate_pos_encoding=True).last_hidden_state
    elif name == "Siglip2VisionModel":
        rows, columns = images.shape[-2] // size, images.shape[-1] // size
        pixels = images.unflatten(-1, (columns, size)).unflatten(-3, (rows, size))
        pixels = pixels.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)  # rows, columns | height, width, channels
        shapes = torch.tensor([[rows, columns]] * len(images))
        mask = torch.ones(len(images), rows * columns, dtype=torch.long)
        states = model(pixels, pixel_attention_mask=mask, spatial_shapes=shapes).last_hidden_state
    elif "Dino" in name or "DINO" in name:
        states = model(images).last_hidden_state
    else:
        states = model(images, interpolate_pos_encoding=True).last_hidden_state
    if name == "CLIPVisionModel":
        states = model.post_layernorm(states)  # CLIP norms its [CLS] only, and that outside of the last state
    number = (images.shape[-2] // size) * (images.shape[-1] // size)
    return (None if "iglip" in name else states[:, 0]), states[:, -number:]


@torch.no_grad()
def tower_features(tower: AnatomyVLMVisionModel, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    states = tower(images).last_hidden_state
    config = tower.config
    return states[:, 0], states[:, 1 + config.num_anatomy_queries + config.num_register_tokens :]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", FAMILIES)
def test_features_equal_those_of_the_source_at_every_size(family, attention):
    source = random_tower(family)
    tower = convert_vision_tower(source, QUERIES)
    source.set_attn_implementation(attention)
    tower.set_attn_implementation(attention)
    for size in ((32, 32), (48, 24), (16, 40)):
        images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(4))
        cls, patches = source_features(source, images)
        our_cls, our_patches = tower_features(tower, images)
        assert our_patches.std() > 0.1
        torch.testing.assert_close(our_patches, patches, atol=1e-5, rtol=1e-5)
        if cls is not None:
            torch.testing.assert_close(our_cls, cls, atol=1e-5, rtol=1e-5)


def test_joint_queries_change_the_features_and_read_only_ones_learn_all_the_same():
    source = random_tower("siglip")
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    _, patches = source_features(source, images)
    _, joint = tower_features(convert_vision_tower(source, {"num_anatomy_queries": 5}), images)
    assert (joint - patches).abs().max() > 1e-2
    tower = convert_vision_tower(source, QUERIES)
    assert tower.config.cls_attention == "read_only"  # SigLIP was pretrained without [CLS]
    states = tower(images).last_hidden_state
    states[:, :6].square().sum().backward()
    gradients = (tower.embeddings.anatomy_queries.grad, tower.embeddings.cls_token.grad)
    assert all(gradient.abs().amax(-1).min() > 0 for gradient in gradients)
    assert tower.layers[0].attention.k_proj.weight.grad.abs().sum() > 0


def test_attention_weights_of_read_only_tokens_have_the_whole_shape():
    tower = convert_vision_tower(random_tower("vit"), QUERIES)
    tower.set_attn_implementation("eager")
    weights = tower(torch.randn(1, 3, 32, 32), output_attentions=True).attentions
    assert len(weights) == 2 and weights[0].shape == (1, 4, 22, 22)
    torch.testing.assert_close(weights[0].sum(-1), torch.ones(1, 4, 22))
    unread = torch.zeros(22, dtype=torch.bool)
    unread[1:6] = True
    assert (weights[0][..., ~unread, :][..., unread] == 0).all() and (weights[0][..., unread, :] > 0).all()


def test_another_image_size_resamples_the_table_as_the_source_does():
    source = random_tower("dinov2-registers")
    tower = convert_vision_tower(source, {**QUERIES, "image_size": 48})
    assert tower.embeddings.position_embeddings.shape == (1, 36, 32)
    images = torch.randn(1, 3, 48, 48)
    torch.testing.assert_close(
        tower_features(tower, images)[1], source_features(source, images)[1], atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("whole", "family"),
    [
        ("ViTForImageClassification", "vit"),
        ("DeiTForImageClassificationWithTeacher", "deit"),
        ("ViTMAEForPreTraining", "mae"),
        ("Dinov2ForImageClassification", "dinov2"),
        ("CLIPModel", "clip"),
        ("SiglipModel", "siglip"),
    ],
)
def test_whole_checkpoints_give_their_tower(whole, family, tmp_path):
    cls = getattr(transformers, whole)
    fields = FAMILIES[family][1]
    if family in ("clip", "siglip"):
        text = {**MLP, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 30}
        config = cls.config_class(vision_config=fields, text_config=text, projection_dim=16)
    else:
        config = cls.config_class(**fields, num_labels=2)
        if family == "mae":
            config.decoder_hidden_size, config.decoder_num_attention_heads, config.decoder_num_hidden_layers = 16, 2, 1
    model = cls(config).eval()
    model.save_pretrained(tmp_path)
    loaded, given = convert_vision_tower(str(tmp_path), QUERIES), convert_vision_tower(model, QUERIES)
    images = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(tower_features(loaded, images)[1], tower_features(given, images)[1])
    core = model.vision_model if family in ("clip", "siglip") else model.base_model
    torch.testing.assert_close(
        tower_features(loaded, images)[1], source_features(core, images)[1], atol=1e-5, rtol=1e-5
    )


def test_missing_and_left_over_weights_are_named(tmp_path):
    random_tower("dinov2").save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    key = next(name for name in weights if name.endswith("layer.1.mlp.fc2.weight"))
    removed = weights.pop(key)
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks weights of its vision tower: .*layer\.1\.mlp\.fc2\.weight"):
        convert_vision_tower(str(tmp_path))
    weights |= {key: removed, key.replace("layer.1", "layer.2"): removed.clone()}
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"has no place: .*layer\.2\.mlp\.fc2\.weight"):
        convert_vision_tower(str(tmp_path))
    source = random_tower("vit")
    source.layers[0].attention.extra = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"ViTModel has weights .* no place for: layers\.0\.attention\.extra"):
        convert_vision_tower(source)
    with pytest.raises(ValueError, match=r"layers\.0\.mlp\.fc1\.weight has the shape \(48, 32\)"):
        convert_vision_tower(random_tower("vit"), {"intermediate_size": 40})


def test_what_cannot_be_converted_is_refused_with_the_reason(tmp_path):
    beit = transformers.BeitConfig(**SIZES, **MLP)
    transformers.BeitModel(beit).save_pretrained(tmp_path / "beit")
    with pytest.raises(ValueError, match=r"beit: a vision tower of type 'beit' cannot be converted: its attention"):
        convert_vision_tower(str(tmp_path / "beit"))
    swin = transformers.SwinConfig(embed_dim=8, depths=[1], num_heads=[2], window_size=4, image_size=32, patch_size=4)
    with pytest.raises(ValueError, match=r"SwinModel: .* within windows"):
        convert_vision_tower(transformers.SwinModel(swin))
    with pytest.raises(ValueError, match="cannot be read as a vision tower"):
        convert_vision_tower(str(tmp_path / "absent"))
    oblong = transformers.ViTConfig(**{**SIZES, **MLP, "image_size": (32, 16)})
    with pytest.raises(ValueError, match="only square images"):
        convert_vision_tower(transformers.ViTModel(oblong))


def test_converted_towers_compile_export_and_checkpoint():
    tower = convert_vision_tower(random_tower("dinov3-gated"), QUERIES)
    images = torch.randn(2, 3, 32, 32)
    expected = tower(images).last_hidden_state
    compiled = torch.compile(tower, backend="aot_eager", fullgraph=True)
    exported = torch.export.export(tower, (images,)).module()
    with torch.no_grad():
        torch.testing.assert_close(compiled(images).last_hidden_state, expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(exported(images).last_hidden_state, expected, atol=1e-4, rtol=1e-4)
    gradients = []
    for checkpointing in (False, True):
        tower.train()
        if checkpointing:
            tower.activation_checkpointing_enable()
        tower.zero_grad()
        tower(images).last_hidden_state.square().sum().backward()
        gradients.append(tower.embeddings.anatomy_queries.grad.clone())
    torch.testing.assert_close(*gradients)
