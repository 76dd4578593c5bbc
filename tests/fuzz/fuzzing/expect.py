"""What a case may do: read its input, or refuse it with the documented error of one line. All else is a finding."""

import logging
import traceback
import unicodedata
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any


# Stands for a patient's name in inputs; it may not come out in an error, its traceback, a log or a warning.
CANARY = "Canary^Patient"
LONGEST_LINE = 1000


class Finding(AssertionError):
    """A case that did what no input may make it do."""


def refusal(error: BaseException) -> str:
    """The message of an error that was documented. Raises `Finding` where it is not one clean line."""
    line = str(error)
    if not line.strip() or len(line) > LONGEST_LINE:
        raise Finding(f"{type(error).__name__} of {len(line)} characters: {line[:200]!r}") from error
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in line):
        raise Finding(f"{type(error).__name__} with control characters or several lines: {line[:300]!r}") from error
    return line


def keep_secret(value: Any) -> None:
    """Raises `Finding` for an error whose message or traceback tells the patient's name."""
    if isinstance(value, Exception) and CANARY.lower() in "".join(traceback.format_exception(value)).lower():
        raise Finding(f"{type(value).__name__} tells the patient's name: {str(value)[:300]!r}") from value


def attempt(documented: type[Exception] | tuple[type[Exception], ...], call: Callable[..., Any], *given: Any) -> Any:
    """The value of a call, or the documented error that it raised. Raises `Finding` for any other error."""
    try:
        return call(*given)
    except documented as error:
        refusal(error)
        return error
    except Exception as error:
        raise Finding(f"{getattr(call, '__name__', call)}: {type(error).__name__}: {str(error)[:300]}") from error


@contextmanager
def listening():
    """Raises `Finding` if a log record or a warning of the block tells the patient's name."""
    heard: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(self.format(record))

    listener = Listener()
    logging.getLogger().addHandler(listener)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        heard += [str(warning.message) for warning in caught]
    finally:
        logging.getLogger().removeHandler(listener)
    for text in heard:
        if CANARY.lower() in text.lower():
            raise Finding(f"a log or warning tells the patient's name: {text[:300]!r}")


def outcome(value: Any) -> str:
    """ "refused" for an error that `attempt` gave back, else "read"."""
    return "refused" if isinstance(value, Exception) else "read"
