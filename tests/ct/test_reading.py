import gzip

import nibabel
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from anatomy_vlm.synthesis.ct import CTReadError, label_names, label_schemes, read_ct, structure_parts, vocabularies
from anatomy_vlm.synthesis.ct.labels import read_labels
from anatomy_vlm.synthesis.ct.nifti import read_nifti_ct
from anatomy_vlm.synthesis.ct.volume import LabelVolume, patient_axes
from anatomy_vlm.synthesis.projection import Geometry, project_volume, voxel_to_world


def ct_array(shape=(12, 14, 16)):
    """Air with a bright spot in front, on the left, near the head of an LPS-ordered grid."""
    hu = np.full(shape, -1000, np.int16)
    hu[3:9, 3:11, 3:13] = 0
    hu[8, 4, 11] = 900
    return hu


def save(path, hu, ras_affine, dtype=np.int16):
    image = nibabel.Nifti1Image(hu.transpose(2, 1, 0).astype(dtype), ras_affine)
    image.header.set_data_dtype(dtype)
    nibabel.save(image, path)
    return path


def ras_of(lps_affine):
    return np.diag([-1.0, -1, 1, 1]) @ lps_affine


@pytest.fixture
def nifti(tmp_path):
    hu = ct_array()
    return save(tmp_path / "case_7.nii.gz", hu, ras_of(voxel_to_world((3, 2, 2), hu.shape)))


def spot(ct):
    index = np.array(np.unravel_index(ct.hu.argmax(), ct.hu.shape))[::-1]
    return ct.affine[:3, :3] @ index + ct.affine[:3, 3]


def test_nifti_is_read_in_the_patients_frame(nifti):
    ct = read_nifti_ct(nifti)
    assert ct.hu.dtype == np.int16
    assert ct.name == "case_7"
    assert ct.spacing_mm == (3, 2, 2)
    x, y, z = spot(ct)
    assert x > 0 > y
    assert z > 0


@settings(max_examples=30, deadline=None)
@given(st.permutations([0, 1, 2]), st.tuples(*[st.booleans()] * 3))
def test_storage_order_and_direction_do_not_matter(tmp_path_factory, order, flips):
    hu = ct_array()
    affine = voxel_to_world((3, 2, 2), hu.shape)
    stored, moved = hu.transpose(2, 1, 0).transpose(order), affine.copy()
    moved[:, :3] = affine[:, order]
    for axis, flip in enumerate(flips):
        if flip:
            stored = np.flip(stored, axis)
            moved[:3, 3] += moved[:3, axis] * (stored.shape[axis] - 1)
            moved[:3, axis] *= -1
    path = tmp_path_factory.mktemp("order") / "ct.nii"
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(stored), ras_of(moved)), path)
    ct = read_nifti_ct(path)
    assert sorted(ct.hu.shape) == sorted(hu.shape)
    assert ct.hu.shape == hu.shape
    geometry = Geometry.pa(detector_shape=(40, 40), detector_size_mm=(60, 60))
    np.testing.assert_allclose(
        project_volume(ct.hu, ct.affine, geometry), project_volume(hu, affine, geometry), atol=1e-5
    )


def test_scaled_and_floating_point_files_hold_the_same_hounsfield_units(tmp_path, nifti):
    hu = ct_array()
    affine = ras_of(voxel_to_world((3, 2, 2), hu.shape))
    floating = read_nifti_ct(save(tmp_path / "f.nii.gz", hu + 0.2, affine, np.float32))
    image = nibabel.Nifti1Image((hu + 1024).transpose(2, 1, 0).astype(np.uint16), affine)
    image.header.set_slope_inter(1, -1024)
    nibabel.save(image, tmp_path / "s.nii.gz")
    assert np.array_equal(floating.hu, read_nifti_ct(nifti).hu)
    assert np.array_equal(read_nifti_ct(tmp_path / "s.nii.gz").hu, hu)


def test_damaged_and_unsuitable_files_are_refused_with_their_name(tmp_path, nifti):
    affine = ras_of(voxel_to_world((3, 2, 2), (12, 14, 16)))
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(gzip.compress(gzip.decompress(nifti.read_bytes())[:2000]))
    (tmp_path / "text.nii.gz").write_text("no")
    offset = save(tmp_path / "offset.nii.gz", ct_array() + 1024, affine)
    four = tmp_path / "four.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4, 2), np.int16), affine), four)
    lost = tmp_path / "lost.nii.gz"
    image = nibabel.load(nifti)
    image.header["sform_code"] = image.header["qform_code"] = 0
    data = gzip.compress(image.header.binaryblock + b"\0" * 4 + np.asarray(image.dataobj).tobytes("F"))
    lost.write_bytes(data)
    for path, said in (
        (cut, "cut short"),
        (tmp_path / "text.nii.gz", "not a NIfTI"),
        (offset, "Hounsfield"),
        (four, "3-D"),
        (lost, "which way the patient lies"),
        (tmp_path / "none.nii.gz", "no such file"),
    ):
        with pytest.raises(CTReadError, match=said) as caught:
            read_ct(path)
        assert path.name in str(caught.value)


def write_series(folder, hu, *, spacing=(3.0, 2.0, 2.0), reverse=False, skip=(), orientation=(1, 0, 0, 0, 1, 0)):
    """A CT series in LPS order with rescale intercept -1024 and shuffled names."""
    series, frame = generate_uid(), generate_uid()
    affine = voxel_to_world(spacing, hu.shape)
    for k in range(len(hu)):
        if k in skip:
            continue
        meta = FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        slice_ = pydicom.Dataset()
        slice_.file_meta = meta
        slice_.SOPClassUID, slice_.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        slice_.Modality, slice_.SeriesInstanceUID, slice_.FrameOfReferenceUID = "CT", series, frame
        slice_.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        slice_.Rows, slice_.Columns = hu.shape[1:]
        slice_.PixelSpacing = [spacing[1], spacing[2]]
        slice_.ImageOrientationPatient = list(orientation)
        slice_.ImagePositionPatient = [affine[0, 3], affine[1, 3], affine[2, 3] + k * spacing[0]]
        slice_.InstanceNumber = len(hu) - k if reverse else k
        slice_.BitsAllocated = slice_.BitsStored = 16
        slice_.HighBit, slice_.PixelRepresentation, slice_.SamplesPerPixel = 15, 0, 1
        slice_.PhotometricInterpretation = "MONOCHROME2"
        slice_.RescaleSlope, slice_.RescaleIntercept = 1, -1024
        slice_.PixelData = (hu[k] + 1024).astype(np.uint16).tobytes()
        slice_.save_as(folder / f"{(k * 7) % 100:02d}_{k}", enforce_file_format=True)
    return folder


@pytest.mark.parametrize("reverse", [False, True])
def test_a_dicom_series_is_ordered_by_position(tmp_path, reverse):
    hu = ct_array()
    ct = read_ct(write_series(tmp_path, hu, reverse=reverse))
    assert np.array_equal(ct.hu, hu)
    np.testing.assert_allclose(ct.affine, voxel_to_world((3, 2, 2), hu.shape))
    (tmp_path / "notes.txt").write_text("not DICOM")
    assert np.array_equal(read_ct(tmp_path).hu, hu)


def test_incomplete_and_mixed_series_are_refused(tmp_path):
    hu = ct_array()
    for name, said, make in (
        ("gap", "not evenly spaced", lambda f: write_series(f, hu, skip=(4,))),
        ("two", "one CT series", lambda f: write_series(write_series(f, hu), hu[:, :, :]) and _rename(f, hu)),
        ("none", "one CT series", lambda f: f),
        ("single", "at least 2 slices", lambda f: write_series(f, hu, skip=range(1, len(hu)))),
    ):
        folder = tmp_path / name
        folder.mkdir()
        make(folder)
        with pytest.raises(CTReadError, match=said):
            read_ct(folder)


def _rename(folder, hu):
    for path in list(folder.iterdir()):
        path.rename(folder / f"a{path.name}")
    return write_series(folder, hu)


def test_the_real_dicom_series_lies_as_its_labels_say(data_root):
    pytest.importorskip("pylibjpeg")
    folder = data_root / "ct_totalseg_reference"
    if not folder.is_dir():
        pytest.skip("ct_totalseg_reference is not on this machine")
    ct = read_ct(folder / "example_ct_dicom")
    (labels,) = read_labels(folder / "example_seg_dicom.nii.gz", "totalsegmentator_v2_total")
    assert ct.hu.shape == (20, 512, 512)
    liver, spleen, spine = (labels.points_mm(n).mean(axis=0) for n in ("liver", "spleen", "vertebrae_T12"))
    assert liver[0] < spine[0] < spleen[0]
    inside = np.linalg.inv(ct.affine) @ np.append(liver, 1)
    x, y, z = np.rint(inside[:3]).astype(int)
    assert 0 < ct.hu[z, y - 5 : y + 5, x - 5 : x + 5].mean() < 150


def test_label_maps_need_names(tmp_path):
    labels = np.zeros((6, 7, 8), np.uint8)
    labels[2:4, 2:5, 2:4] = 51
    labels[4] = 52
    affine = np.diag([2.0, 2, 2, 1])
    path = save(tmp_path / "labels.nii.gz", labels, affine, np.uint8)
    with pytest.raises(CTReadError, match="names no structures"):
        read_labels(path)
    (volume,) = read_labels(path, "totalsegmentator_v2_total")
    assert volume.names == {51: "heart", 52: "aorta"}
    assert len(volume.points_mm("heart")) == 12
    assert len(volume.points_mm("liver")) == 0
    with pytest.raises(CTReadError, match="value 52"):
        read_labels(path, {51: "heart"})
    table = tmp_path / "names.csv"
    table.write_text("id,structure\n51,heart\n52,aorta\n")
    assert read_labels(path, table)[0].names == volume.names


def test_names_in_the_header_are_used(tmp_path):
    labels = np.zeros((6, 7, 8), np.uint8)
    labels[2] = 3
    image = nibabel.Nifti1Image(labels.transpose(2, 1, 0), np.diag([2.0, 2, 2, 1]))
    xml = '<CaretExtension><Label Key="3" Red="1"><![CDATA[trachea]]></Label></CaretExtension>'
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, xml.encode()))
    nibabel.save(image, tmp_path / "l.nii.gz")
    assert read_labels(tmp_path / "l.nii.gz")[0].names == {3: "trachea"}


def test_a_folder_of_masks_keeps_overlaps_apart(tmp_path):
    affine = np.diag([2.0, 2, 2, 1])
    heart, atrium, liver = (np.zeros((6, 7, 8), np.uint8) for _ in range(3))
    heart[1:4, 1:5], atrium[2, 2:4], liver[5] = 1, 1, 1
    for name, mask in (("heart", heart), ("heart_atrium_right", atrium), ("liver", liver)):
        save(tmp_path / f"{name}.nii.gz", mask, affine, np.uint8)
    volumes = read_labels(tmp_path)
    counts = {name: int((v.values == value).sum()) for v in volumes for value, name in v.names.items()}
    assert counts == {"heart": heart.sum(), "heart_atrium_right": atrium.sum(), "liver": liver.sum()}
    assert len(volumes) == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(CTReadError, match=r"no \.nii"):
        read_labels(tmp_path / "empty")


def test_schemes_tell_versions_apart():
    assert len(label_names("totalsegmentator_v2_total")) == 117
    assert len(label_names("totalsegmentator_v1_total")) == 104
    assert label_names("totalsegmentator_v2_total")[58] != label_names("totalsegmentator_v1_total")[58]
    assert label_names("totalsegmentator_v2_pleural_pericard_effusion") == {
        2: "pleural_effusion",
        3: "pericardial_effusion",
    }
    for scheme in label_schemes():
        names = label_names(scheme)
        assert len(set(names.values())) == len(names)
    with pytest.raises(ValueError, match="unknown label scheme"):
        label_names("totalsegmentator")


def test_other_vocabularies_are_made_of_known_structures():
    known = {name for scheme in label_schemes() for name in label_names(scheme).values()}
    for vocabulary in vocabularies():
        for name, (_, parts) in structure_parts(vocabulary).items():
            assert parts, name
            assert set(parts) <= known | {"body"}, name
    for vocabulary, left, right in (
        ("chexanatomy", "lung_left", "lung_right"),
        ("paxray_plus_plus", "left lung", "right lung"),
    ):
        names = structure_parts(vocabulary)
        assert all("left" in part for part in names[left][1])
        assert all("right" in part for part in names[right][1])
    with pytest.raises(ValueError, match="unknown vocabulary"):
        structure_parts("icd")


def test_points_follow_the_affine():
    values = np.zeros((3, 4, 5), np.uint8)
    values[2, 1, 4] = 9
    affine = voxel_to_world((3, 2, 1), values.shape)
    affine[:3, 0] *= -1
    np.testing.assert_allclose(
        LabelVolume(values, affine, {9: "spot"}).points_mm("spot"), [affine[:3, :3] @ (4, 1, 2) + affine[:3, 3]]
    )


def test_oblique_axes_are_assigned_one_to_one():
    affine = np.eye(4)
    affine[:3, :3] = [[0.7, 0.71, 0], [-0.7, 0.7, 0.1], [0, 0.1, 1]]
    array, moved = patient_axes(np.zeros((2, 3, 4)), affine)
    assert sorted(array.shape) == [2, 3, 4]
    assert abs(np.linalg.det(moved[:3, :3])) == pytest.approx(abs(np.linalg.det(affine[:3, :3])))
