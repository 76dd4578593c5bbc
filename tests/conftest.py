"""Settings of all tests: no network, and where real data may be found."""

import os
from pathlib import Path

import pytest
from hypothesis import settings


# Before anything imports huggingface_hub, which reads them once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# A busy machine is no reason to fail.
settings.register_profile("anatomy-vlm", deadline=None)
settings.load_profile("anatomy-vlm")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real films and volumes; the test is skipped where it is not."""
    folder = Path(os.environ.get("ANATOMY_VLM_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real data: set ANATOMY_VLM_TEST_DATA to a folder that holds it")
    return folder
