"""What happens when something on the page is used: a page's key and its inputs in, new contents of the page out."""

import base64
import io
import itertools
import json
import logging
import traceback
from collections.abc import Callable
from typing import Any

from anatomy_vlm.app.films import take_film
from anatomy_vlm.app.gallery import Gallery
from anatomy_vlm.app.service import FilmService, split_prompts
from anatomy_vlm.app.sessions import Session, Sessions
from anatomy_vlm.app.view import film_view, summary
from anatomy_vlm.comparison_page import render_comparison
from anatomy_vlm.evidence_page import render_evidence
from anatomy_vlm.prediction import DecodedFilm, draw_reading
from anatomy_vlm.processing.mask_pictures import spoken_name


CALLED = "those above their thresholds"

_log = logging.getLogger(__name__)

Contents = dict[str, Any]


class Handlers:
    """The app without its page.

    Every method takes the page's key, and gives contents by name: `status` ({kind, text}), and where it has something
    to show `view`, `evidence`, `comparison`, `download`. A mistake is a status of one line; what is not named stays.

    Args:
        service: what reads films.
        gallery: examples; None for none.
    """

    def __init__(self, service: FilmService, gallery: Gallery | None = None) -> None:
        self.service, self.gallery, self.sessions = service, gallery, Sessions()
        self._turns = itertools.count()

    def examples(self) -> list[dict[str, str]]:
        """Thumbnails of the gallery."""
        return [] if self.gallery is None else [example.thumbnail() for example in self.gallery.examples]

    def open_upload(self, key: str, upload: str) -> Contents:
        """Read an uploaded film in place of what the page showed."""
        return _answered(lambda: self._open(key, take_film(upload, "film")))

    def open_example(self, key: str, index: int) -> Contents:
        """Read an example; one of two films is compared at once."""

        def answer() -> Contents:
            examples = () if self.gallery is None else self.gallery.examples
            if not isinstance(index, int) or not 0 <= index < len(examples):
                raise ValueError("There is no such example.")
            contents = self._open(key, examples[index].film)
            prior = examples[index].prior
            if prior is None or not self.service.can_compare:
                return contents
            return {**contents, **self._compare(key, prior), "status": contents["status"]}

        return _answered(answer)

    def score_prompts(self, key: str, text: str, force: bool) -> Contents:
        """Read the film again with other texts, and with or without findings that its doubts forbid."""

        def answer() -> Contents:
            session = self.sessions.get(key)
            prompts = split_prompts(text)
            reading = self.service.read(_film(session), prompts, force)
            self._check_current(key, session)
            session.prompts, session.force, session.reading = prompts, force, reading
            scored = [f"“{item['text']}” {item['score']:.2f}" for item in reading.record.get("prompts", [])]
            if scored:
                said = f"Scored: {', '.join(scored)}."
            elif prompts:
                said = "Texts are withheld as findings are, see the warnings."
            else:
                said = summary(reading.record)
            return {**_status(said), "view": self._view(session)}

        return _answered(answer)

    def gather_evidence(self, key: str, finding: str) -> Contents:
        """What the score of a finding, or of those that are called, rests on."""

        def answer() -> Contents:
            session = self.sessions.get(key)
            card = self.service.evidence(_film(session), None if finding == CALLED else [finding], session.force)
            self._check_current(key, session)
            items = card.record["findings"]
            if not items:
                session.evidence = None
                return {**_status("Findings are withheld, so there is no evidence."), "evidence": None}
            session.evidence = card
            page = {"title": "Evidence card", "html": render_evidence(card)}
            return {**_status(f"Evidence for {', '.join(item['name'] for item in items)}, below."), "evidence": page}

        return _answered(answer)

    def compare_upload(self, key: str, upload: str) -> Contents:
        """Compare the film with an earlier one of the patient."""
        return _answered(lambda: self._compare(key, take_film(upload, "prior")))

    def draw_masks(self, key: str, names: list[str]) -> Contents:
        """Draw structures on the film; none clears it."""

        def answer() -> Contents:
            session = self.sessions.get(key)
            unknown = [name for name in names if name not in self.service.structures]
            if unknown:
                raise ValueError("This app has no such structure.")
            masks = self.service.masks(_film(session), names) if names else {}
            self._check_current(key, session)
            session.masks = masks
            drawn = [spoken_name(name) for name, (_, mask) in masks.items() if mask.any()]
            return {**_status(f"Masks drawn: {', '.join(drawn) or 'none'}."), "view": self._view(session)}

        return _answered(answer)

    def download(self, key: str, what: str) -> Contents:
        """A file for the browser to save: `reading`, `overlay`, `evidence` or `comparison`."""

        def answer() -> Contents:
            session = self.sessions.get(key)
            name, kind, content = _file(session, what)
            coded = base64.b64encode(content).decode("ascii")
            # The turn makes the same file news to the page when it is asked for again.
            file = {"name": name, "type": kind, "content": coded, "turn": next(self._turns)}
            return {**_status(f"Saved {name}."), "download": file}

        return _answered(answer)

    def leave(self, key: str) -> None:
        """Forget a page that was closed or loaded anew."""
        self.sessions.drop(key)

    def _open(self, key: str, film: DecodedFilm) -> Contents:
        session = Session(film=film)
        self.sessions.start(key, session)
        session.reading = self.service.read(film)
        self._check_current(key, session)
        contents = _status(summary(session.reading.record))
        return {**contents, "view": self._view(session), "evidence": None, "comparison": None}

    def _compare(self, key: str, prior: DecodedFilm) -> Contents:
        session = self.sessions.get(key)
        try:
            comparison = self.service.compare(prior, _film(session), session.force)
        except ValueError as error:
            # Nobody gives --force on a page.
            raise ValueError(str(error).partition("; --force")[0] + ".") from None
        self._check_current(key, session)
        session.comparison = comparison
        changed = [item for item in comparison.record["findings"] if item["verdict"] != "stable"]
        said = ", ".join(f"{item['name']} {item['verdict']}" for item in changed) or "no finding changed"
        page = {"title": "Comparison with the prior study", "html": render_comparison(comparison)}
        return {**_status(f"Compared with the prior study: {said}."), "comparison": page}

    def _view(self, session: Session) -> Contents:
        assert session.reading is not None
        return film_view(session.reading, self.service.phrases(), session.masks)

    def _check_current(self, key: str, session: Session) -> None:
        if not self.sessions.is_current(key, session):
            raise ValueError("The film was changed meanwhile: ask again.")


def _film(session: Session) -> DecodedFilm:
    if session.film is None:
        raise ValueError("There is no film yet: choose one first.")
    return session.film


def _file(session: Session, what: str) -> tuple[str, str, bytes]:
    """Name, media type and content; names say nothing of the patient."""
    if session.reading is None:
        raise ValueError("There is no film yet: choose one first.")
    if what == "reading":
        # As `predict --json` writes it.
        return "reading.json", "application/json", _json([session.reading.record])
    if what == "overlay":
        stream = io.BytesIO()
        draw_reading(session.reading).save(stream, "PNG")
        return "overlay.png", "image/png", stream.getvalue()
    if what == "evidence":
        if session.evidence is None:
            raise ValueError("There is no evidence card yet: gather the evidence first.")
        return "evidence.html", "text/html", render_evidence(session.evidence).encode()
    if what == "comparison":
        if session.comparison is None:
            raise ValueError("There is no comparison yet: choose a prior film first.")
        return "comparison.html", "text/html", render_comparison(session.comparison).encode()
    raise ValueError("There is no such file.")


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _status(text: str, kind: str = "status") -> Contents:
    return {"status": {"kind": kind, "text": text}}


def _answered(answer: Callable[[], Contents]) -> Contents:
    """The answer, or one line on why there is none. A bug is logged without its message, which may quote a film."""
    try:
        return answer()
    except (ValueError, ImportError) as error:
        return _status(" ".join(str(error).split()), "error")
    except Exception as error:
        frames = "".join(traceback.format_tb(error.__traceback__))
        _log.error("%s\n%s", type(error).__name__, frames)
        return _status(f"This is a mistake in the app ({type(error).__name__}). Nothing was read; try again.", "error")
