"""The reference checkpoint behind the app, and synthetic films."""

import pytest

from anatomy_vlm.app.gallery import Gallery
from anatomy_vlm.app.handlers import Handlers
from anatomy_vlm.app.service import FilmService
from anatomy_vlm.hub_cards import REFERENCE_MODEL
from anatomy_vlm.prediction import Predictor


@pytest.fixture(scope="session")
def service():
    """Reads films, draws no masks."""
    return FilmService(Predictor.load(REFERENCE_MODEL, device="cpu"))


@pytest.fixture(scope="session")
def gallery():
    """A film without findings, and two films of another patient."""
    pytest.importorskip("numba", reason="the parametric chest needs the extra `synthesis`")
    drawn = Gallery(((6, False), (976, True)), size=256)
    assert len(drawn.examples) == 2
    return drawn


@pytest.fixture
def handlers(service, gallery):
    return Handlers(service, gallery)


@pytest.fixture
def upload(tmp_path, gallery):
    """Puts a file where the server would: in a folder of its own within the temporary one."""

    def put(content, name="film.png", folder="upload"):
        path = tmp_path / "uploads" / folder / name
        path.parent.mkdir(parents=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content.save(path)
        return path

    return put


@pytest.fixture(scope="session")
def film(gallery):
    """A synthetic film as a picture."""
    return gallery.examples[0].film.image.to_pil()
