"""Synthetic films to try the app with: drawn when it starts, kept in memory, stored nowhere."""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

import numpy as np
from PIL import Image

from anatomy_vlm.html_page import data_url
from anatomy_vlm.prediction import DecodedFilm
from anatomy_vlm.processing.radiograph import RadiographImage


# Patients of the phantom, and whether an earlier film of the same patient (study 0) belongs to the example (study 1).
EXAMPLES = ((6, False), (154, False), (176, False), (24, False), (230, False), (976, True))
SIZE = 512
_THUMBNAIL = 160


@dataclass(frozen=True)
class Example:
    """A synthetic film, what was drawn on it, and an earlier film of the same patient where there is one."""

    film: DecodedFilm
    title: str
    prior: DecodedFilm | None = None

    def thumbnail(self) -> dict[str, str]:
        """`image` (a data URL), `title` and `alt` for the page."""
        stream = io.BytesIO()
        self.film.image.to_pil().resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS).save(
            stream, "JPEG", quality=80
        )
        return {
            "image": data_url(stream.getvalue(), "image/jpeg"),
            "title": self.title,
            "alt": f"Synthetic film: {self.title}",
        }


@cache
def draw_examples(patients: Sequence[tuple[int, bool]] = EXAMPLES, size: int = SIZE) -> tuple[Example, ...]:
    """Draw the examples; none where the extra `synthesis` is not installed. The same films every time."""
    if find_spec("numba") is None:
        return ()
    from anatomy_vlm.synthesis.phantom import Study, generate_study

    def film(study: Study, name: str) -> DecodedFilm:
        pixels = np.ascontiguousarray(study.film)
        image = RadiographImage(pixels, view=study.parameters.pose.view, metadata={"format": "PNG"})
        return DecodedFilm(f"{name}.png", image)

    examples = []
    for number, (patient, has_prior) in enumerate(patients, start=1):
        study = generate_study(patient, int(has_prior), image_size=size)
        title = _title([finding.name for finding in study.parameters.findings])
        prior = None
        if has_prior:
            earlier = generate_study(patient, 0, image_size=size)
            prior = film(earlier, f"example-{number}-prior")
            before = _title([finding.name for finding in earlier.parameters.findings])
            title = f"two films, earlier {before}, later {title}"
        examples.append(Example(film(study, f"example-{number}"), title, prior))
    return tuple(examples)


class Gallery:
    """The examples, drawn beside the start of the server so that nobody waits for them who does not want them."""

    def __init__(self, patients: Sequence[tuple[int, bool]] = EXAMPLES, size: int = SIZE) -> None:
        pool = ThreadPoolExecutor(1, thread_name_prefix="gallery")
        self._drawn = pool.submit(draw_examples, tuple(patients), size)
        pool.shutdown(wait=False)

    @property
    def examples(self) -> tuple[Example, ...]:
        """The examples; waits until they are drawn."""
        return self._drawn.result()


def _title(findings: Sequence[str]) -> str:
    return ", ".join(findings) or "no finding"
