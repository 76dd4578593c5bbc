"""Being asked to stop: by a scheduler before the time is over, by an administrator, by Ctrl-C."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


# Slurm sends the third before a time limit, where the job asks for it by `--signal`.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))
WORKER_GRACE_S = 60


class Interrupted(KeyboardInterrupt):
    """
    A run that was asked to stop. Like `KeyboardInterrupt`, it passes by handlers of ordinary errors.

    Args:
        number: The signal.
        message: What was kept, in one line.
        agreed: Do all processes of the run raise it, so that one of them says it for all?
    """

    def __init__(self, number: int, message: str, agreed: bool = False):
        super().__init__(message)
        self.number = number
        self.agreed = agreed

    @property
    def exit_status(self) -> int:
        """As shells have it: 128 and the number of the signal, 143 for SIGTERM."""
        return 128 + self.number


class StopWatch:
    """
    Notes signals to stop while it is installed.

    Within `deferred` a signal is only noted, in `pending`, and whoever asks for it ends the work in good order; a
    second one of the same kind does not wait any longer. Elsewhere it raises `Interrupted` at once: whatever is
    written is whole or not there.
    """

    def __init__(self) -> None:
        self.pending: int | None = None
        self._deferring = 0

    @contextmanager
    def installed(self) -> Iterator["StopWatch"]:
        """Handle signals; those who handled them before get them back. Does nothing outside the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before: dict[int, Any] = {number: signal.signal(number, self._handle) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Only note signals."""
        self._deferring += 1
        try:
            yield
        finally:
            self._deferring -= 1

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._deferring and self.pending != number:
            self.pending = number
            return
        name = signal.Signals(number).name
        raise Interrupted(number, f"stopped by {name}; what was finished is kept, the same command goes on from there")


def outlive_signals(worker: int = 0) -> None:
    """
    Let a worker of a data loader live on when the whole group of processes is asked to stop, so that the step can be
    finished that it is needed for. It ends with its loader, or a minute later.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "SIGALRM"):
        # `terminate` of a loader whose worker hangs sends SIGTERM too: it must end some time.
        signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(WORKER_GRACE_S))
