"""The Space: the app of the package, on a server of the Hub."""

import os

from anatomy_vlm.app.server import AppSettings, serve
from anatomy_vlm.hub_cards import REFERENCE_MODEL


def settings() -> AppSettings:
    """Listen where the Space does; `ANATOMY_VLM_MODEL` names another model than the package's."""
    return AppSettings(
        model=os.environ.get("ANATOMY_VLM_MODEL") or REFERENCE_MODEL,
        host=os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0"),
        port=int(os.environ.get("GRADIO_SERVER_PORT", "7860")),
    )


if __name__ == "__main__":
    raise SystemExit(serve(settings()))
