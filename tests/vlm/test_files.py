"""CheXanatomy's folders and training files: read safely, written as they are read, views told apart."""

import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from anatomy_vlm.modeling.mask_fsq_anatomy_vlm import AnatomyMaskCodec
from anatomy_vlm.modeling.mask_raster_anatomy_vlm import crop_to_box
from anatomy_vlm.modeling.mask_vq_anatomy_vlm import PaliGemmaMaskCodec
from anatomy_vlm.training.masks.chexanatomy_npz import CheXanatomyFileError, main, read_npz, write_npz
from anatomy_vlm.training.masks.codec_files import grammar_of, load_codec
from anatomy_vlm.training.masks.vlm_films import CaseFolders, KeptShapes, NpzFiles, open_films


def test_a_film_comes_back_with_boxes_tokens_and_what_is_absent(tmp_path, coverage_codec):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (40, 60)).astype(np.uint8)
    mask = np.zeros((40, 60), bool)
    mask[5:25, 12:30] = rng.random((20, 18)) < 0.7
    mask[5, 12] = mask[24, 29] = True
    write_npz(tmp_path / "a.npz", image, {"heart": mask, "liver": np.zeros((40, 60), bool)}, coverage_codec)
    film = read_npz(tmp_path / "a.npz")
    assert np.array_equal(film.image, image) and film.orientation == "PA" and film.case == "a"
    assert film.absent == ("liver",) and film.shapes["heart"].box == (5 / 40, 12 / 60, 25 / 40, 30 / 60)
    raster = crop_to_box(torch.from_numpy(mask), (5, 12, 25, 30))
    assert list(film.shapes["heart"].codes) == coverage_codec.encode_rasters(raster[None])[0].tolist()
    # As their own code reads it.
    with np.load(tmp_path / "a.npz", allow_pickle=True) as data:
        info = data["metadata"].item()["structure_info"]["heart"]
    assert info["bbox"] == (5, 12, 24, 29) and info["bbox_norm"] == (0.125, 0.2, 0.6, 0.483)
    assert info["bbox_token"] == "<loc0128><loc0205><loc0614><loc0494>"
    assert info["segmentation_token"].startswith(info["bbox_token"] + "<seg")


def test_files_of_the_published_shape_are_read_and_those_that_would_run_code_are_not(tmp_path):
    info = {"label": "heart", "bbox": (1, 2, 10, 20), "bbox_norm": (0.02, 0.04, 0.2, 0.4), "bbox_token": "",
            "segmentation_token": "<loc0020><loc0041><loc0205><loc0409>" + "<seg007>" * 16}  # fmt: skip
    bare = {**info, "segmentation_token": None, "bbox": (np.int64(1), np.int64(2), np.int64(10), np.int64(20))}
    metadata = {"img_shape": (50, 50), "case": "c", "orientation": "LR", "num_structures": 2}
    np.savez_compressed(
        tmp_path / "theirs.npz",
        img_array=np.zeros((50, 50), np.uint8),
        metadata={**metadata, "structure_info": {"heart": info, "aorta": bare}},
    )
    film = read_npz(tmp_path / "theirs.npz")
    assert film.orientation == "LR" and film.absent == ()
    assert film.shapes["heart"].codes == (7,) * 16 and film.shapes["heart"].box == (0.02, 0.04, 0.22, 0.42)
    assert film.shapes["aorta"].codes == ()

    class Malicious:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "made"),))

    pickle.loads(pickle.dumps(Malicious()))
    assert (tmp_path / "made").exists(), "it does run where nobody looks"
    (tmp_path / "made").rmdir()
    np.savez(tmp_path / "bad.npz", img_array=np.zeros((4, 4)), metadata=np.array(Malicious(), dtype=object))
    with pytest.raises(CheXanatomyFileError, match=r"bad\.npz: not a training file .* it would run \w+\.mkdir"):
        read_npz(tmp_path / "bad.npz")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive"])
def test_broken_files_are_named(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(CheXanatomyFileError, match=r"x\.npz"):
        read_npz(tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", img_array=np.zeros((4, 4)), metadata=np.zeros(3))
    with pytest.raises(CheXanatomyFileError, match=r"y\.npz: .* no dictionary"):
        read_npz(tmp_path / "y.npz")


def test_cases_become_training_files_whose_places_survive_the_square(tmp_path, cases, codec_file, capsys):
    assert main([str(cases), str(tmp_path), "--codec", str(codec_file), "--quiet"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}: 2 films\n"
    films, folders = NpzFiles(tmp_path), CaseFolders(cases)
    assert [film.view for film in films] == [film.view for film in folders] == ["LATERAL", "PA"]
    assert films[1].shapes["left lung"].box == (8 / 48, 30 / 48, 38 / 48, 42 / 48) and films[1].absent == ("liver",)
    stamp = (tmp_path / "CT_projections_PA" / "case_1.npz").stat().st_mtime_ns
    assert main([str(cases), str(tmp_path), "--codec", str(codec_file), "--quiet"]) == 0
    assert (tmp_path / "CT_projections_PA" / "case_1.npz").stat().st_mtime_ns == stamp, (
        "what is done is not done again"
    )
    with pytest.raises(ValueError, match="PaliGemma's tokens"):
        write_npz(tmp_path / "z.npz", np.zeros((4, 4), np.uint8), {}, AnatomyMaskCodec())


def test_the_view_is_in_the_folder_above_the_case_and_nowhere_else(tmp_path):
    # "PA" is in "PATIENTS" and in "spam_LR"'s case too; published code takes the first it finds.
    for folder in ("PATIENTS/CT_LR/PA_1", "PATIENTS/plain/PA"):
        (tmp_path / folder).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 4), np.uint8)).save(tmp_path / folder / "ct.png")
    films = CaseFolders(tmp_path)
    assert [film.view for film in films] == ["LATERAL", None] and films[0].image.shape == (8, 8)
    (tmp_path / "PATIENTS/plain/PA/heart.png").write_bytes(b"broken")
    with pytest.raises(CheXanatomyFileError, match=r"heart\.png: cannot be read"):
        films[1]


def test_sources_by_name(tmp_path, cases):
    from anatomy_vlm.training.masks.film_shapes import gather, save_film_shapes

    assert isinstance(open_films(str(cases)), CaseFolders) and len(open_films("phantom:7")) == 7
    film = CaseFolders(cases)[1]
    shapes = gather([film.image, film.image], [dict(film.masks), {"heart": film.masks["heart"]}])
    save_film_shapes(shapes, tmp_path / "kept.safetensors")
    kept = open_films(str(tmp_path / "kept.safetensors"))
    assert isinstance(kept, KeptShapes) and kept[0].view is None
    assert np.array_equal(kept[0].masks["left lung"], film.masks["left lung"])
    assert set(kept[1].absent) == {"left lung", "right lung"}
    for wrong in ("phantoms:3", str(tmp_path / "nowhere")):
        with pytest.raises(ValueError, match="name phantom:NUMBER"):
            open_films(wrong)
    with pytest.raises(ValueError, match="no cases"):
        open_films(str(tmp_path))


def test_codecs_are_told_apart_by_their_weights(tmp_path, codec_file):
    save_file(AnatomyMaskCodec().state_dict(), tmp_path / "ours.safetensors")
    ours = load_codec(tmp_path / "ours.safetensors")
    assert isinstance(ours, AnatomyMaskCodec) and grammar_of(ours).seg_size == 4096
    theirs = load_codec(codec_file)
    assert isinstance(theirs, PaliGemmaMaskCodec)
    arrays = {name: tensor.numpy() for name, tensor in theirs.state_dict().items() if name != "codebook"}
    np.savez(tmp_path / "vae-oid.npz", **{"_vq_vae._embedding": theirs.codebook.detach().numpy()}, **arrays)
    again = load_codec(tmp_path / "vae-oid.npz")
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in theirs.state_dict().items())
    (tmp_path / "x.safetensors").write_bytes(b"no")
    for wrong in ("x.safetensors", "nowhere.npz"):
        with pytest.raises(ValueError, match=wrong):
            load_codec(tmp_path / wrong)
