"""A request to stop (SIGTERM): what is running finishes its step and is saved, and the process ends with status 75."""

import signal
import threading
from types import FrameType
from typing import Any

STOPPED = 75  # exit status of a run that was asked to stop and can be resumed (EX_TEMPFAIL)


class Stopping:
    """While entered, a SIGTERM sets `asked` instead of killing; `leave` ends the process where nothing can be lost.

    May be entered again inside itself. Only the main thread can have signals; elsewhere nothing is ever asked.

    >>> import os
    >>> with Stopping() as stopping:
    ...     os.kill(os.getpid(), signal.SIGTERM)
    ...     stopping.asked
    True
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: list[Any] = []

    def leave(self) -> None:
        """End the process if it was asked to stop."""
        if self.asked:
            raise SystemExit(STOPPED)

    def __enter__(self) -> "Stopping":
        if threading.current_thread() is threading.main_thread():
            self._before.append(signal.signal(signal.SIGTERM, self._handle))
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.asked = True

    def __exit__(self, *error: object) -> None:
        if self._before:
            signal.signal(signal.SIGTERM, self._before.pop())
