"""A receipt of the checkpoint of the package on a few synthetic films, measured once."""

from pathlib import Path

import pytest


RECEIPTS = Path(__file__).parents[2] / "docs" / "receipts"
SMALL = RECEIPTS / "phantom-reference-small.json"


@pytest.fixture(scope="session")
def films(tmp_path_factory) -> Path:
    """Folder that keeps the films that are drawn."""
    return tmp_path_factory.mktemp("films")


@pytest.fixture(scope="session")
def measured(films):
    """The small receipt of the repository, measured again."""
    pytest.importorskip("numba", reason="films are drawn by the extra `synthesis`")
    from anatomy_vlm.training.receipts.receipt import load_receipt
    from anatomy_vlm.training.receipts.tasks import measure_again

    return measure_again(load_receipt(SMALL), films=films, device="cpu", progress=False)
