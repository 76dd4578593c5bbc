"""Start the app, and leave nothing behind when it stops."""

import os
import shutil
import signal
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from anatomy_vlm.app.gallery import Gallery
from anatomy_vlm.app.handlers import Handlers
from anatomy_vlm.app.service import FilmService
from anatomy_vlm.hub_cards import REFERENCE_MODEL


LOCAL = "127.0.0.1"
MAX_MEGABYTES = 64
_LOCAL_HOSTS = (LOCAL, "localhost", "::1")
_HERE = "Films are read on this computer and sent nowhere."
_THERE = "Films are sent to the server of this page, read in its memory, and forgotten when you leave."
_EXTRA = 'the app needs Gradio: pip install "anatomy-vlm[app]"'


@dataclass(frozen=True)
class AppSettings:
    """How the app is served.

    Attributes:
        model: a folder or a Hub id.
        mask_model: of a writer of masks; None takes the one of the package, if there is one.
        host: address to listen at; only this computer by default.
        port: None takes the first free one from 7860 on.
        max_megabytes: larger files are refused.
        examples: draw the gallery of synthetic films.
        device, bf16: of PyTorch, see `predict`.
        open_browser: show the page once it is there.
    """

    model: str | Path = REFERENCE_MODEL
    mask_model: str | Path | None = None
    host: str = LOCAL
    port: int | None = None
    max_megabytes: int = MAX_MEGABYTES
    examples: bool = True
    device: str | None = None
    bf16: bool = False
    open_browser: bool = False


@dataclass(frozen=True)
class RunningApp:
    """An app that is being served: its address, what answers, and the folder where uploads lie until they are read."""

    url: str
    handlers: Handlers
    folder: Path


@contextmanager
def running_app(settings: AppSettings | None = None, service: FilmService | None = None) -> Iterator[RunningApp]:
    """Serve the app within a block; at its end the server is stopped and its temporary files are gone.

    Args:
        settings: how to serve it.
        service: a loaded model, in place of that of the settings.

    Raises:
        ImportError: Gradio is not installed; names the extra.
        CheckpointError: there is no such model.
        OSError: the address cannot be listened at.
    """
    chosen = settings or AppSettings()
    with _temporary_root() as folder:
        try:
            from anatomy_vlm.app.page import build_page
            from anatomy_vlm.app.web import serving
        except ImportError as error:
            if (error.name or "").partition(".")[0].startswith("gradio"):
                raise ImportError(_EXTRA) from None
            raise
        if service is None:
            service = FilmService.load(
                chosen.model, mask_model=chosen.mask_model, device=chosen.device, bf16=chosen.bf16
            )
        handlers = Handlers(service, Gallery() if chosen.examples else None)
        local = chosen.host in _LOCAL_HOSTS
        page = build_page(handlers, max_megabytes=chosen.max_megabytes, place=_HERE if local else _THERE)
        limit = chosen.max_megabytes * 2**20
        with serving(page, chosen.host, chosen.port, max_bytes=limit, hosts=_LOCAL_HOSTS if local else ()) as url:
            yield RunningApp(url, handlers, folder)


def serve(settings: AppSettings) -> int:
    """Serve the app until it is interrupted (Ctrl+C, SIGTERM); returns an exit status."""
    with _stopped_by_signals() as stop, running_app(settings) as app:
        print(f"Anatomy-VLM at {app.url} (Ctrl+C stops it)", flush=True)
        if settings.open_browser:
            webbrowser.open(app.url)
        if settings.host not in _LOCAL_HOSTS:
            print(
                "Whoever reaches this address can use it: put it behind something that asks for a password.",
                flush=True,
            )
        stop.wait()
    return 0


@contextmanager
def _temporary_root() -> Iterator[Path]:
    """A folder of its own for every temporary file of the process, readable by its owner alone; gone at the end.

    Set before Gradio is imported, as is that it reports nothing to anybody.
    """
    folder = Path(tempfile.mkdtemp(prefix="anatomy-vlm-app-"))
    quiet = {
        "GRADIO_TEMP_DIR": str(folder),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
    }
    before = {name: os.environ.get(name) for name in quiet}
    directory = tempfile.tempdir
    os.environ.update(quiet)
    tempfile.tempdir = str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = directory
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
