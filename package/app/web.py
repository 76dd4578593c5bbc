"""The web server of the app: where it listens, and what it lets a browser do."""

import secrets
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI
from gradio import route_utils
from starlette.datastructures import MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware

from anatomy_vlm.app.sessions import MAX_SESSIONS


PORTS = range(7860, 7960)
# A page asks this server for everything: no fonts, scripts or pictures of others, whoever names them.
_POLICY = "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; object-src 'none'"


@contextmanager
def serving(
    page: gr.Blocks, host: str, port: int | None, *, max_bytes: int, hosts: Sequence[str] = ()
) -> Iterator[str]:
    """Serve a page beside the caller; gives its address.

    Args:
        page: what is shown.
        host, port: where to listen; without a port the first free one of `PORTS`.
        max_bytes: larger files are refused while they arrive.
        hosts: names by which the server may be called; any if there are none. It keeps pages of others from reaching
            a server of this computer under a name of their own.

    Raises:
        OSError: the address cannot be listened at.
    """
    # Fonts of the computer, for those of Gradio's themes would be fetched; and white on blue that can be read.
    theme = gr.themes.Default(
        primary_hue="blue", font=["ui-sans-serif", "system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    ).set(button_primary_background_fill="*primary_700", button_primary_background_fill_hover="*primary_800")
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(_Headers)
    if hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    page.state_session_capacity = MAX_SESSIONS
    listener = _listen(host, port)
    number = listener.getsockname()[1]
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        server_name=host,
        server_port=number,
        max_file_size=max_bytes,
        ssr_mode=False,
        show_error=True,
        enable_monitoring=False,
        footer_links=[],
        run_history=False,
        theme=theme,
        css=files("anatomy_vlm.app").joinpath("app.css").read_text(encoding="utf-8"),
    )
    # Gradio looks at the paths that a browser names only once it thinks that it was launched.
    page.has_launched = True
    config = uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=2, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="app server", daemon=True)
    thread.start()
    theirs = route_utils.GradioUploadFile
    route_utils.GradioUploadFile = _OwnUpload  # type: ignore[misc]
    try:
        while not server.started:
            if not thread.is_alive():
                raise OSError(f"the server of the app did not start at {host}:{number}")
            time.sleep(0.05)
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{number}/"
    finally:
        route_utils.GradioUploadFile = theirs  # type: ignore[misc]
        page.close(verbose=False)
        server.should_exit = True
        thread.join(timeout=30)
        listener.close()


class _OwnUpload(route_utils.GradioUploadFile):
    """An upload in a folder of its own. Gradio puts files of one name and content in one place, whoever sends them;
    here the first to be read would be deleted under the hands of the second."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.sha.update(secrets.token_bytes(16))


def _listen(host: str, port: int | None) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for number in PORTS if port is None else (port,):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, number))
            return listener
        except OSError as error:
            listener.close()
            if port is not None or isinstance(error, socket.gaierror):
                raise OSError(f"{host}:{number}: cannot be listened at ({error.strerror}); choose another") from None
    raise OSError(f"{host}: no port of {PORTS.start} to {PORTS.stop - 1} is free; name another with --port")


class _Headers:
    """Adds the headers that tell a browser to ask nobody else, and to keep nothing."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = _POLICY
                headers["Referrer-Policy"] = "no-referrer"
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)
