"""Self-contained HTML pages from the templates of this package."""

import base64
import io
from importlib.resources import files
from typing import Any

from PIL import Image


def render_page(template: str, **context: Any) -> str:
    """A page of a template that extends `page.html`; texts are escaped, missing ones are an error."""
    from jinja2 import DictLoader, Environment, StrictUndefined

    folder = files("anatomy_vlm")
    sources = {name: folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.html", template)}
    environment = Environment(
        loader=DictLoader(sources), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(**context)


def picture_url(image: Image.Image) -> str:
    """A picture as a data URL (JPEG)."""
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "JPEG", quality=88)
    return data_url(stream.getvalue(), "image/jpeg")


def data_url(content: bytes, media_type: str) -> str:
    """Bytes as a data URL.

    >>> data_url(b"film", "text/plain")
    'data:text/plain;base64,ZmlsbQ=='
    """
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign.

    >>> signed(0.5), signed(-1), signed(-0.001)
    ('+0.50', '-1.00', '0.00')
    """
    text = f"{value:+.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text
