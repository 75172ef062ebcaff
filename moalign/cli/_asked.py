"""What a command does when it is asked to stop; nothing heavy is imported, so that it holds from the first moment."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ASKED = 75  # exit status of a command that was asked to stop: the same command continues
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


@contextmanager
def when_asked(answer: Callable[[], object]) -> Iterator[None]:
    """Call `answer` when SIGTERM or SIGUSR1 comes; a run inside has its own answer while it trains."""
    owner = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # forked from the command
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        answer()

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def leave() -> None:
    """End the process: nothing has begun, or everything is written."""
    raise SystemExit(ASKED)
