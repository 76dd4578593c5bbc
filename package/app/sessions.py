"""What the app remembers of each open page, and that it forgets."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from anatomy_vlm.comparison import Comparison
from anatomy_vlm.evidence import Evidence
from anatomy_vlm.prediction import DecodedFilm, FileReading


MAX_SESSIONS = 200
IDLE_SECONDS = 3600.0


@dataclass
class Session:
    """One page's film and what was said about it. A new film makes a new one, so that nothing is mixed up."""

    film: DecodedFilm | None = None
    prompts: tuple[str, ...] = ()
    force: bool = False
    reading: FileReading | None = None
    evidence: Evidence | None = None
    comparison: Comparison | None = None
    masks: dict[str, tuple[float, np.ndarray]] = field(default_factory=dict)


class Sessions:
    """The open pages by key; in memory only, each seen by its own key alone.

    Args:
        max_sessions: pages at a time; the one that was idle the longest goes first.
        idle_seconds: after which a page is forgotten.
        clock: seconds, for tests.
    """

    def __init__(
        self,
        max_sessions: int = MAX_SESSIONS,
        idle_seconds: float = IDLE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max, self._idle, self._clock = max_sessions, idle_seconds, clock
        self._lock = threading.Lock()
        self._open: OrderedDict[str, tuple[float, Session]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def start(self, key: str, session: Session) -> None:
        """Remember a page's new session in place of its old one."""
        with self._lock:
            self._forget_idle()
            self._open.pop(key, None)
            self._open[key] = (self._clock(), session)
            while len(self._open) > self._max:
                self._open.popitem(last=False)

    def get(self, key: str) -> Session:
        """The session of a page.

        Raises:
            ValueError: there is none, or no more.
        """
        with self._lock:
            self._forget_idle()
            entry = self._open.pop(key, None)
            if entry is None:
                raise ValueError("There is no film here any more: choose it again.")
            self._open[key] = (self._clock(), entry[1])
            return entry[1]

    def is_current(self, key: str, session: Session) -> bool:
        """Whether the page still shows this session."""
        with self._lock:
            return key in self._open and self._open[key][1] is session

    def drop(self, key: str) -> None:
        """Forget a page."""
        with self._lock:
            self._open.pop(key, None)

    def _forget_idle(self) -> None:
        limit = self._clock() - self._idle
        for key in [key for key, (used, _) in self._open.items() if used < limit]:
            del self._open[key]
