"""Keep what decoders say of a file to ourselves: their warnings and logs quote values, which may be a patient's."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


_lock = threading.Lock()
_inside = 0
_filters: warnings.catch_warnings | None = None


class _Silence(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return _inside == 0


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """
    No warning is shown, and pydicom logs nothing, while any thread is inside.

    `warnings.catch_warnings` alone saves and restores the filters of the whole process, so that one thread's end lets
    the warnings of the others through; here the first thread saves them and the last one restores them.
    """
    global _inside, _filters
    with _lock:
        if _inside == 0:
            logger = logging.getLogger("pydicom")
            if not any(isinstance(known, _Silence) for known in logger.filters):
                logger.addFilter(_Silence())
            _filters = warnings.catch_warnings()
            _filters.__enter__()
            warnings.simplefilter("ignore")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and _filters is not None:
                _filters.__exit__(None, None, None)
                _filters = None
