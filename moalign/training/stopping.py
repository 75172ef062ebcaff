"""A request to stop (SIGTERM, SIGUSR1): the step that runs is finished and saved; the process ends with status 75."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOPPED = 75  # exit status of a run that was asked to stop and can be resumed (EX_TEMPFAIL)
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # the second is what schedulers are told to send before time is up


class Stopping:
    """While entered, a signal sets `asked` instead of killing; `leave` ends the process where nothing can be lost.

    May be entered again inside itself. Only the main thread can have signals; elsewhere nothing is ever asked.

    >>> with Stopping() as stopping:
    ...     os.kill(os.getpid(), signal.SIGUSR1)
    ...     stopping.asked
    True
    """

    def __init__(self) -> None:
        self.asked = False
        self._owner = os.getpid()
        self._idle = False
        self._before: list[dict[signal.Signals, Any]] = []

    def leave(self) -> None:
        """End the process if it was asked to stop."""
        if self.asked:
            raise SystemExit(STOPPED)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """End the process as soon as it is asked: nothing that is done inside is kept anyway."""
        self._idle = True  # before it looks: what is asked in between is heard
        try:
            self.leave()
            yield
        finally:
            self._idle = False

    def __enter__(self) -> "Stopping":
        if threading.current_thread() is threading.main_thread():
            self._before.append({number: signal.signal(number, self._handle) for number in SIGNALS})
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:  # forked by a reward: its pool must be able to end it
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.asked = True
        if self._idle:
            self.leave()

    def __exit__(self, *error: object) -> None:
        if self._before:
            for number, handler in self._before.pop().items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not Python's
