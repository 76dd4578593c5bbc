"""Exported models: they say what the PyTorch model says, at any size, and carry where they are from."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from anatomy_vlm.cli import main
from anatomy_vlm.prediction import Predictor
from anatomy_vlm.training.evaluation.reader import Reader
from anatomy_vlm.training.export_hub import ExportError
from anatomy_vlm.training.model_folder import CheckpointError, load_checkpoint

from .conftest import save_tiny_model


onnx = pytest.importorskip("onnx", reason="the extra `onnx` is not installed")
pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")

from anatomy_vlm.backends.graph_export import PARITY, check_parity, export_for_backend  # noqa: E402
from anatomy_vlm.backends.graph_model import load_graphs  # noqa: E402
from anatomy_vlm.backends.graphs import VISION_OUTPUTS, VisionGraph  # noqa: E402
from anatomy_vlm.backends.quantization import quantized_copy  # noqa: E402


@pytest.fixture(scope="module")
def exported(tiny_model, tmp_path_factory):
    """The tiny model as `anatomy-vlm export --format onnx` writes it."""
    folder = tmp_path_factory.mktemp("exported") / "onnx"
    assert main(["export", str(tiny_model), str(folder), "--format", "onnx"]) == 0
    return folder


@pytest.fixture(scope="module")
def graphs(exported):
    """A function that gives the exported model as a backend runs it, loaded once."""
    loaded = {}

    def load(backend):
        if backend == "openvino":
            pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
        if backend not in loaded:
            loaded[backend] = load_graphs(exported, backend, threads=1)
        return loaded[backend]

    return load


def films(number, seed=0):
    """Smooth films of several sizes."""
    rng = np.random.default_rng(seed)
    sizes = [(90, 70), (64, 64), (50, 120), (200, 180)]
    return [
        Image.fromarray(rng.integers(0, 255, (6, 6), dtype=np.uint8)).resize(sizes[i % 4], Image.Resampling.BICUBIC)
        for i in range(number)
    ]


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_backends_read_films_as_the_model_does(tiny_model, graphs, backend):
    texts = ["a film", "no pleural effusion and nothing else"]
    expected = Reader(*load_checkpoint(tiny_model), texts=texts, device="cpu").read(films(5))
    found = Reader(*graphs(backend), texts=texts, device="cpu").read(films(5))
    assert np.abs(found.relative_boxes - expected.relative_boxes).max() < PARITY
    for name in ("presence", "image_scores", "region_scores", "text_image_scores", "text_region_scores"):
        difference = np.abs(getattr(found, name) - getattr(expected, name)).max()
        assert difference < PARITY, name
    # Films differ, and so do their readings: no constant was exported.
    assert np.ptp(found.relative_boxes, axis=0).max() > 10 * PARITY
    assert np.ptp(found.image_scores, axis=0).max() > 10 * PARITY


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
@pytest.mark.parametrize("shape", [(1, 32, 32), (4, 32, 32), (2, 48, 64), (1, 41, 35)])
def test_batch_and_size_are_free(tiny_model, graphs, backend, shape):
    model, _ = load_checkpoint(tiny_model)
    batch, height, width = shape
    small = torch.rand(batch, 3, 5, 5, generator=torch.Generator().manual_seed(1)) * 2 - 1
    pixels = nn.functional.interpolate(small, size=(height, width), mode="bicubic")
    texts = nn.functional.normalize(torch.randn(batch + 2, 8, generator=torch.Generator().manual_seed(2)), dim=-1)
    with torch.inference_mode():
        expected = dict(zip(VISION_OUTPUTS, VisionGraph(model)(pixels, texts), strict=True))
    session = graphs(backend)[0].vision
    found = session.run({"pixel_values": pixels.numpy(), "text_embeds": texts.numpy()})
    assert set(found) == set(VISION_OUTPUTS)
    for name, value in expected.items():
        assert found[name].shape == tuple(value.shape), name
        assert np.abs(found[name] - value.numpy()).max() < PARITY, name


def test_files_are_checked_and_say_where_they_are_from(tiny_model, exported):
    notes = json.loads((exported / "export.json").read_text())
    for name in ("model.onnx", "text_model.onnx"):
        model = onnx.load(exported / name)
        onnx.checker.check_model(model, full_check=True)
        assert [(item.domain, item.version) for item in model.opset_import] == [("", 18)]
        properties = {entry.key: entry.value for entry in model.metadata_props}
        assert properties["weights_sha256"] == notes["weights_sha256"] and "research" in properties["note"]
        assert json.loads(properties["regions"])[8] == "left lung"
    vision = onnx.load(exported / "model.onnx")
    dims = {
        item.name: [dim.dim_value or None for dim in item.type.tensor_type.shape.dim] for item in vision.graph.input
    }
    assert dims == {"pixel_values": [None, 3, None, None], "text_embeds": [None, 8]}
    assert max(notes["parity"].values()) < PARITY and set(notes["parity"]) == {*VISION_OUTPUTS, "text_embeds"}
    assert set(notes["findings"]) == {"pneumothorax", "pleural effusion"}
    assert all(str(tiny_model.parent) not in file.read_text() for file in exported.glob("*.json"))


def test_a_graph_that_differs_is_not_let_through(tiny_model, graphs):
    model, processor = load_checkpoint(tiny_model)
    exact, _ = graphs("onnx")

    class Shifted:
        input_names = exact.vision.input_names

        def run(self, inputs):
            found = exact.vision.run(inputs)
            return {**found, "pred_boxes": found["pred_boxes"] + 2 * PARITY}

    with pytest.raises(ExportError, match=r"differs from the model: pred_boxes by 2\.\de-04; not written"):
        check_parity(model, processor, Shifted(), exact.text)


def test_eight_bit_weights_are_stored_and_heads_stay_float(exported, tmp_path):
    pytest.importorskip("onnxruntime.quantization", reason="the extra `onnx` is not installed")
    folder = quantized_copy(exported, tmp_path / "int8", films(8, seed=3))
    model = onnx.load(folder / "model.onnx")
    weights = {item.name: item for item in model.graph.initializer}
    quantized = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in weights]
    by_channel = [
        node for node in quantized if len(weights[node.input[1]].dims) == 1 and weights[node.input[1]].dims[0] > 1
    ]
    int8 = [node for node in by_channel if weights[node.input[0]].data_type == onnx.TensorProto.INT8]
    # Two layers of six products each, two convolutions of the stem and the patches.
    assert len(int8) >= 15
    names = [node.name for node in model.graph.node if "QuantizeLinear" in node.op_type]
    assert names and not any("box_head" in name for name in names)
    reader, exact = (Reader(*load_graphs(f, "onnx", threads=1), device="cpu") for f in (folder, exported))
    found, expected = reader.read(films(5)), exact.read(films(5))
    shift = np.abs(found.relative_boxes - expected.relative_boxes)
    assert 0 < shift.mean() < 0.01
    assert json.loads((folder / "export.json").read_text())["quantization"]["films"] == 8
    with pytest.raises(ExportError, match="at least 8 films to calibrate on, got 2"):
        quantized_copy(exported, tmp_path / "few", films(2))
    with pytest.raises(ExportError, match="no export to ONNX"):
        quantized_copy(tmp_path, tmp_path / "none", films(8))
    assert not (tmp_path / "few").exists()


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_predict_gives_the_same_records(tiny_model, exported, graphs, tmp_path, backend, capsys):
    graphs(backend)
    path = tmp_path / "film.png"
    films(1)[0].save(path)
    records = {}
    for name, folder in (("torch", tiny_model), (backend, exported)):
        out = tmp_path / f"{name}.json"
        arguments = ["predict", str(path), "--model", str(folder), "--backend", name, "--json", str(out), "--force"]
        assert main([*arguments, "--prompts", "a film"]) == 0, capsys.readouterr().err
        (records[name],) = json.loads(out.read_text())
    expected, found = records["torch"], records[backend]
    assert found["prompts"][0]["score"] == pytest.approx(expected["prompts"][0]["score"], abs=PARITY)
    for ours, theirs in zip(found["regions"], expected["regions"], strict=True):
        assert ours["name"] == theirs["name"] and ours["box"] == pytest.approx(theirs["box"], abs=0.02)
    assert [f["name"] for f in found["findings"]] == [f["name"] for f in expected["findings"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "{film}", "--model", "{model}", "--backend", "onnx"], "no model.onnx in this folder"),
        (["predict", "{film}", "--model", "{model}", "--backend", "openvino"], "no model.xml or model.onnx"),
        (["predict", "{film}", "--model", "{exported}"], "an exported model; read it with --backend onnx or openvino"),
        (["predict", "{film}", "--model", "{broken}", "--backend", "onnx"], "cannot be loaded as an exported model"),
        (["predict", "{film}", "--model", "{out}", "--backend", "onnx", "--bf16"], "go with --backend torch"),
        (["predict", "{film}", "--model", "{exported}", "--backend", "onnx", "--device", "cuda"], "device 'cuda'"),
        (["export", "{model}", "{out}", "--int8"], "--int8 and --calibration go with --format onnx"),
        (["export", "{model}", "{out}", "--format", "onnx", "--half"], "--half and --no-code go with --format hub"),
        (["export", "{model}", "{out}", "--format", "onnx", "--calibration", "x"], "--calibration goes with --int8"),
        (["export", "{broken}", "{out}", "--format", "onnx"], "cannot be loaded"),
    ],
)
def test_mistakes_are_one_line(tiny_model, exported, tmp_path, capsys, arguments, message):
    broken = tmp_path / "broken"
    shutil.copytree(exported, broken)
    (broken / "model.onnx").write_bytes((exported / "model.onnx").read_bytes()[:5000])
    path = tmp_path / "film.png"
    films(1)[0].save(path)
    places = {"film": path, "model": tiny_model, "exported": exported, "broken": broken, "out": tmp_path / "out"}
    assert main([argument.format(**places) for argument in arguments]) == 2
    errors = capsys.readouterr().err
    lines = [line for line in errors.splitlines() if line.startswith("anatomy-vlm: error:")]
    assert len(lines) == 1 and message in lines[0] and "Traceback" not in errors
    assert not (tmp_path / "out").exists()


def test_boxes_of_the_user_are_refused(exported, graphs):
    reader = Reader(*graphs("onnx"), device="cpu")
    with pytest.raises(ValueError, match="reads no boxes of yours; use --backend torch"):
        reader.read(films(1), np.zeros((1, 29, 4)))
    with pytest.raises(CheckpointError, match="unknown backend 'tpu'"):
        load_graphs(exported, "tpu")
    assert Predictor.load(exported, backend="onnx").reader.device.type == "cpu"


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"position_embedding_type": "rope", "region_pooling": "box"},
        {"position_interpolation": "bicubic_antialias", "num_register_tokens": 2, "gated_mlp": True},
        {"query_attention": "read_only", "glimpse_size": 4},
    ],
)
def test_other_towers_are_exported_too(tmp_path, options):
    folder = export_for_backend(save_tiny_model(tmp_path / "model", **options), tmp_path / "out")
    assert max(json.loads((folder / "export.json").read_text())["parity"].values()) < PARITY


@pytest.mark.slow
def test_openvino_format_with_integers_is_read_by_openvino(tiny_model, tmp_path):
    pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    films_folder = tmp_path / "films"
    films_folder.mkdir()
    for index, film in enumerate(films(8)):
        film.save(films_folder / f"{index}.png")
    out = tmp_path / "out"
    command = ["export", str(tiny_model), str(out), "--format", "openvino", "--int8"]
    assert main([*command, "--calibration", str(films_folder)]) == 0
    assert {"model.xml", "model.bin", "text_model.xml", "text_model.bin"} <= {path.name for path in out.iterdir()}
    assert not list(out.glob("*.onnx*"))
    found = Reader(*load_graphs(out, "openvino", threads=1), device="cpu").read(films(5))
    expected = Reader(*load_checkpoint(tiny_model), device="cpu").read(films(5))
    assert 0 < np.abs(found.relative_boxes - expected.relative_boxes).mean() < 0.01
