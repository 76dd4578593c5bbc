"""A short look at every kind of input; `python tests/fuzz/run.py all --minutes 60` is the long one."""

import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


# `--import-mode=importlib` leaves the folders of tests off the path.
sys.path.insert(0, str(Path(__file__).parent))

from fuzzing import KINDS, make_kind


# Those of some milliseconds a case; a checkpoint or a dataset takes hundred times as long.
MANY = ("image", "dicom", "json", "yaml", "scene-graph", "rle", "table", "tokens", "report", "array")
FEW = tuple(sorted(set(KINDS) - set(MANY)))


@pytest.fixture(scope="module")
def kind_of(tmp_path_factory):
    """A kind of input by its name, made when first asked for."""
    for extra in ("pydicom", "nibabel"):
        pytest.importorskip(extra)
    made = {}

    def kind(name):
        if name not in made:
            made[name] = make_kind(name, tmp_path_factory.mktemp("kind") / name)
        return made[name]

    return kind


@pytest.mark.parametrize("name", MANY)
@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1))
def test_inputs_are_read_or_refused_in_one_line(kind_of, name, seed):
    assert kind_of(name).case(Random(seed))


@pytest.mark.parametrize("name", FEW)
@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1))
def test_folders_are_read_or_refused_in_one_line(kind_of, name, seed):
    assert kind_of(name).case(Random(seed))


@pytest.mark.parametrize("name", ["image", "dicom", "json", "yaml", "scene-graph", "rle", "table", "tokens", "report"])
def test_cases_are_neither_all_refused_nor_all_read(kind_of, name):
    """Mutations that always break the first byte would look at nothing behind it."""
    outcomes = {kind_of(name).case(Random(seed)).rsplit(" ", 1)[-1] for seed in range(60)}
    assert outcomes == {"read", "refused"}
