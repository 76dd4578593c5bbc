"""The mask writer: well-formed by construction, the same with and without a cache, and able to learn."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from transformers import AutoConfig, AutoModelForMaskGeneration

from anatomy_vlm.modeling import AnatomyVLMForMaskGeneration, AnatomyVLMMaskConfig
from anatomy_vlm.modeling.mask_writer_layers_anatomy_vlm import look_into
from anatomy_vlm.modeling.mask_writer_losses_anatomy_vlm import IGNORED
from anatomy_vlm.modeling.mask_writer_output_anatomy_vlm import AnatomyVLMWrittenMasks

from .conftest import SIDE, STRUCTURES, tiny_writer


@pytest.fixture
def films():
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "how",
    [{}, {"do_sample": True}, {"num_beams": 3}, {"num_beams": 2, "num_return_sequences": 2}, {"use_cache": False}],
)
def test_whatever_is_generated_is_well_formed(writer, films, how):
    config = writer.config
    for seed in range(4):
        torch.manual_seed(seed)
        # Anything but a trained model: what it writes must be well formed all the same.
        for parameter in (writer.digit_head.weight, writer.place_pointer.rest.weight):
            torch.nn.init.normal_(parameter, std=3.0)
        tokens = writer.generate(films, decoder_input_ids=writer.prompt(["left lung"], 2), **how)
        assert tokens.shape == (2 * how.get("num_return_sequences", 1), 2 + 4 + config.num_shape_codes + 1)
        assert (tokens[:, 0] == config.decoder_start_token_id).all() and (tokens[:, -1] == config.eos_token_id).all()
        for codes in writer.codes_of(tokens):
            writer.codec.check(codes)
            assert len(codes) == writer.codec.num_codes and codes[0] < codes[2] and codes[1] < codes[3]
        assert writer.decode_masks(tokens, (50, 40)).shape == (len(tokens), 50, 40)


def test_a_cache_changes_nothing_nor_do_several_structures_at_once(writer, films):
    apart = [writer.generate(films, decoder_input_ids=writer.prompt([name], 2)) for name in STRUCTURES]
    without = writer.generate(films, decoder_input_ids=writer.prompt(STRUCTURES[:1], 2), use_cache=False)
    assert torch.equal(apart[0], without)
    together = writer.write_masks(films, STRUCTURES, expected=False)
    assert torch.equal(together.tokens, torch.stack(apart, dim=1)[..., :-1])
    outputs = writer(pixel_values=films, decoder_input_ids=without[:, :-1])
    assert torch.equal(outputs.logits[:, 1:].argmax(-1), without[:, 2:])
    # Every row is a distribution: the logits are logarithms of probabilities.
    assert torch.allclose(outputs.logits[:, 1:].exp().sum(-1), torch.ones(()), atol=1e-4)


def test_what_is_absent_ends_at_once(films):
    writer = tiny_writer()
    writer.presence_head.bias.data.fill_(-20.0)
    tokens = writer.generate(films, decoder_input_ids=writer.prompt(["left lung"], 2))
    assert tokens.tolist() == [[2, writer.config.structure_id("left lung"), 1]] * 2
    assert writer.codes_of(tokens) == [[], []]
    assert not writer.decode_masks(tokens, (9, 9)).any()
    written = writer.write_masks(films, ["left lung"])
    assert (written.presence < 1e-6).all() and not written.masks(0, (9, 9))["left lung"].any()


def test_one_structure_present_and_one_absent_in_a_batch(writer, films):
    with torch.no_grad():
        writer.structure_embeddings.weight[0] = 5.0
        writer.layernorm.weight.fill_(1.0)
        states = writer(pixel_values=films, decoder_input_ids=writer.prompt(STRUCTURES[:2], 2), use_cache=False)
    assert states.logits.shape == (4, 2, writer.config.vocab_size)


def test_it_learns_two_films_by_heart(shapes):
    writer = tiny_writer(prefix_dropout=0.0).train()
    table = shapes.table()
    films = torch.stack([(shapes.films[index].float() - 120) / 60 for index in (0, 1)])[:, None]
    films = torch.nn.functional.interpolate(films, (SIDE, SIDE)).expand(-1, 3, -1, -1)
    labels, names = [], shapes.names
    for film in (0, 1):
        for place, name in enumerate(names):
            mask = shapes.mask(int(table[film, place]), (80, 80))
            labels.append(writer.tokens_of(name, writer.codec.encode(mask[None])[0]))
    labels = torch.tensor(labels)
    optimizer = torch.optim.AdamW([p for p in writer.parameters() if p.requires_grad], 6e-3)
    for step in range(120):
        for group in optimizer.param_groups:
            group["lr"] = 6e-3 * (1 - step / 120)
        loss = writer(pixel_values=films, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    writer.eval()
    written = writer.write_masks(films, names, expected=False)
    assert (written.presence > 0.5).all()
    true = (labels[:, 1:5] - writer.config.first_place) / (writer.config.box_bins - 1)
    assert (written.boxes.flatten(0, 1) - true).abs().mean() < 0.04
    agree = written.tokens.flatten(0, 1)[:, 6:] == labels[:, 5:-1]
    assert agree.float().mean() > 0.5
    # The left lung is the patient's: on the image's right.
    boxes = dict(zip(names, written.boxes[0]))
    assert boxes["left lung"][1] > boxes["right lung"][3] - 0.1


def test_what_is_unknown_teaches_nothing(writer, films):
    labels = torch.tensor([writer.tokens_of(name, [100, 100, 300, 300, *[0] * 20]) for name in STRUCTURES[:2]])
    known = writer(pixel_values=films, labels=labels).loss
    cut = labels.clone()
    cut[1, 1:] = IGNORED
    half = writer(pixel_values=films, labels=cut)
    alone = writer(pixel_values=films[:1], labels=labels[:1])
    assert writer.tokens_of("left lung", [])[1:] == [writer.config.eos_token_id, *[IGNORED] * 24]
    assert torch.allclose(half.loss, alone.loss, atol=1e-5) and not torch.allclose(half.loss, known)
    rasters = torch.full((2, 64, 64), -1.0)
    assert writer(pixel_values=films, labels=labels, rasters=rasters).raster_loss == 0


def test_saved_and_loaded_by_the_auto_classes(writer, films, tmp_path):
    writer.save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is AnatomyVLMMaskConfig
    loaded = AutoModelForMaskGeneration.from_pretrained(tmp_path).eval()
    assert type(loaded) is AnatomyVLMForMaskGeneration
    for (name, old), new in zip(writer.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert torch.equal(old, new), name
    first, second = (model.write_masks(films, STRUCTURES) for model in (writer, loaded))
    assert torch.equal(first.rasters, second.rasters)
    assert not any(parameter.requires_grad for parameter in loaded.codec.parameters())


def test_mistakes_are_named(writer, films):
    with pytest.raises(ValueError, match="the model does not know 'spleen'; it knows right lung, left lung"):
        writer.prompt(["spleen"])
    with pytest.raises(ValueError, match="generate needs `decoder_input_ids`"):
        writer.generate(films)
    with pytest.raises(ValueError, match="3 rows cannot be shared out among 2 films"):
        writer(pixel_values=films, decoder_input_ids=writer.prompt(STRUCTURES))
    with pytest.raises(ValueError, match="`pixel_values` or `encoder_outputs`"):
        writer(decoder_input_ids=writer.prompt(STRUCTURES))
    with pytest.raises(StrictDataclassClassValidationError, match="different names"):
        AnatomyVLMMaskConfig(structures=["heart", "heart"])
    with pytest.raises(StrictDataclassClassValidationError, match="must be a multiple of `decoder_num_heads`"):
        AnatomyVLMMaskConfig(decoder_hidden_size=10, decoder_num_heads=4)


def test_a_glimpse_shows_the_box_upright_and_unmirrored():
    film = torch.zeros(1, 1, 80, 80)
    film[..., 20:30, 40:50] = 1.0  # the upper left quarter of the box
    seen = look_into(film, torch.tensor([[0.25, 0.5, 0.5, 0.75]]), 96)
    assert seen.shape == (1, 1, 96, 96)
    inner = seen[0, 0, 16:-16, 16:-16]
    assert inner[:30, :30].mean() > 0.9 and inner[34:].max() < 0.1 and inner[:, 34:].max() < 0.1
    rows = look_into(torch.cat((film, 2 * film)), torch.tensor([[0.25, 0.5, 0.5, 0.75]]).expand(4, 4), 96)
    assert torch.equal(rows[0], rows[1]) and torch.allclose(rows[2], 2 * rows[0])


def test_masks_come_back_onto_a_film_that_is_not_square():
    boxes = torch.tensor([[[0.25, 0.0, 0.75, 0.5], [0.25, 0.5, 0.75, 1.0]]])
    written = AnatomyVLMWrittenMasks(
        ("right lung", "left lung"), torch.tensor([[0.9, 0.9]]), boxes, torch.ones(1, 2, 64, 64)
    )
    # The film is twice as wide as high: a quarter of the input above and below it is bars.
    masks = written.masks(0, (50, 100), (0.25, 0.0, 0.75, 1.0))
    assert masks["right lung"][:, :50].all() and not masks["right lung"][:, 50:].any()
    assert masks["left lung"][:, 50:].all() and not masks["left lung"][:, :50].any()
