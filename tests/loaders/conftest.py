"""Synthetic copies of the datasets' layouts, and their examples, made once for all tests of this folder."""

from collections.abc import Callable
from typing import Any

import pytest

from anatomy_vlm.training.loaders import load_data, open_source
from anatomy_vlm.training.loaders.layouts import LAYOUTS, write_layout


NUM_PATIENTS = 24
IMAGE_SIZE = 96


@pytest.fixture(scope="session", autouse=True)
def datasets_cache(tmp_path_factory):
    """The cache of `datasets` in a folder of this session."""
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        datasets.disable_progress_bars()
        yield
        datasets.enable_progress_bars()


@pytest.fixture(scope="session")
def layout(tmp_path_factory) -> Callable[[str], dict[str, Any]]:
    """Arguments with which the loader reads a layout; written when first asked for."""
    made: dict[str, dict[str, Any]] = {}

    def write(name: str) -> dict[str, Any]:
        if name not in made:
            pytest.importorskip("nibabel" if name == "ct_projection" else "pydicom")
            patients = 10 if name == "ct_projection" else NUM_PATIENTS
            made[name] = write_layout(name, tmp_path_factory.mktemp(name), num_patients=patients)
        return dict(made[name])

    return write


@pytest.fixture(scope="session")
def source(layout):
    """The index of a layout."""
    return lambda name, **options: open_source(name.partition("-")[0], layout(name) | options)


@pytest.fixture(scope="session")
def loaded(layout):
    """The map-style splits of a layout."""
    made: dict[str, Any] = {}

    def load(name: str):
        if name not in made:
            made[name] = load_data(name.partition("-")[0], {**layout(name), "image_size": IMAGE_SIZE})
        return made[name]

    return load


def pytest_generate_tests(metafunc):
    if "layout_name" in metafunc.fixturenames:
        metafunc.parametrize("layout_name", sorted(LAYOUTS))
