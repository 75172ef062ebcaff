"""A reward in a process of its own: it can be killed even when it hangs inside C code that holds Python's lock."""

import multiprocessing
import os
import pickle
import signal
import traceback
from collections.abc import Mapping
from concurrent.futures import Future
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from types import FrameType
from typing import Any

from moalign.errors import ConfigError, RewardError
from moalign.rewards.calling import call, prepare
from moalign.rewards.running import Answer, in_daemon
from moalign.rewards.sources import resolve

START_LIMIT = 300.0  # seconds to import the reward's module or load its model
GRACE = 5.0  # seconds past the timeout after which the process ends itself, should nobody be left to kill it


class InProcess:
    """Runs a reward in one long-lived spawned process, killed when it hangs and then started anew."""

    def __init__(self, reward: Any, name: str, timeout: float):
        try:
            self.pickled = pickle.dumps(reward)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ConfigError(
                f"`isolate=True` of objective `{name}`: the reward cannot be sent to another process ({error}); "
                "define it at the top level of a module, or give it as 'package.module:function'."
            ) from error
        self.name = name
        self.timeout = timeout
        self.ready = False
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        arguments = (theirs, self.pickled, self.timeout + GRACE)
        self.process = context.Process(target=serve, args=arguments, daemon=True, name=f"moalign-{self.name}")
        self.process.start()
        Finalize(self, self.process.kill, exitpriority=0)  # at exit, Python would ask it by a signal that it ignores
        theirs.close()  # so that reading ends when the process does
        self.ready = False

    def prepare(self) -> None:
        """Wait until the process has imported its reward; this time does not count against the timeout."""
        if self.ready:
            return
        try:
            if not self.connection.poll(START_LIMIT):
                raise RewardError(f"objective `{self.name}`: its process did not start within {START_LIMIT:g} seconds.")
            problem = self.connection.recv()
        except EOFError:
            raise RewardError(
                f"objective `{self.name}`: its process ended while starting ({self._code()}); "
                "in a script, put what runs the study under `if __name__ == '__main__':`."
            ) from None
        if problem is not None:
            raise RewardError(
                f"objective `{self.name}`: its reward cannot be loaded in another process ({problem}); "
                "put it into a module that can be imported, or set `isolate=False`."
            ) from problem
        self.ready = True

    def submit(self, arguments: Mapping[str, Any]) -> "Future[Answer]":
        connection = self.connection
        return in_daemon(lambda: self._exchange(connection, arguments))

    def _exchange(self, connection: Connection, arguments: Mapping[str, Any]) -> Answer:
        try:
            connection.send(dict(arguments))
            answer = connection.recv()
        except (EOFError, OSError):
            raise RewardError(f"its process ended ({self._code()})") from None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _code(self) -> str:
        self.process.join(timeout=GRACE)
        return f"exit code {self.process.exitcode}"

    def abandon(self, future: "Future[Answer]") -> None:
        """Kill the process and start another, which imports while the training goes on."""
        self.close()
        self._start()

    def close(self) -> None:
        self.process.kill()
        self.process.join()


def serve(connection: Connection, pickled: bytes, limit: float) -> None:
    """Answer calls until the other end closes; runs in the child process.

    The timer ends a call that hangs when the parent was killed and cannot do it: its default action needs no Python.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    owner = os.getpid()

    def ignored(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # forked by the reward, which must be able to end it
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    for number in (signal.SIGTERM, signal.SIGUSR1):  # schedulers ask every process; the parent finishes its step first
        signal.signal(number, ignored)
    try:
        fn = resolve(pickle.loads(pickled))
        prepare(fn)
    except BaseException as error:
        connection.send_bytes(portable(error))
        return
    connection.send(None)
    while True:
        try:
            arguments = connection.recv()
        except EOFError:
            return
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, limit)
        try:
            answer = pickle.dumps(call(fn, arguments))
        except BaseException as error:
            answer = portable(error)
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        connection.send_bytes(answer)


def portable(error: BaseException) -> bytes:
    """Pickle an exception with its traceback as a note; one that cannot be pickled becomes a `RuntimeError`."""
    trace = "".join(traceback.format_exception(error))
    error.add_note(f"in its own process:\n{trace}")
    try:
        data = pickle.dumps(error.with_traceback(None))
        pickle.loads(data)  # some exceptions can be written and not read
    except Exception:
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}\n{trace}"))
    return data
