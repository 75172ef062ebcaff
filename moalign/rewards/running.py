"""Where reward functions run: in daemon threads or in one event loop; neither keeps the interpreter from exiting."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch

from moalign.rewards.calling import Notes, call, call_async

Answer = tuple[Any, Notes]
T = TypeVar("T")


@runtime_checkable
class Runner(Protocol):
    """One way to run one reward function."""

    def prepare(self) -> None: ...  # blocks until it can take a call; this time does not count

    def submit(self, arguments: Mapping[str, Any]) -> "Future[Answer]": ...

    def abandon(self, future: "Future[Answer]") -> None: ...  # it took too long

    def close(self) -> None: ...


def in_daemon(work: Callable[[], T]) -> "Future[T]":
    """Run `work` in a fresh daemon thread; unlike a pool's, it is not waited for when Python exits.

    What "cuda" means is a thread's own affair in torch: the new one is told this one's device.
    """
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # from here on nobody can cancel it: the thread cannot be stopped
    device = torch.cuda.current_device() if torch.cuda.is_initialized() else None

    def run() -> None:
        try:
            if device is not None:
                torch.cuda.set_device(device)
            result = work()
        except BaseException as error:  # SystemExit too: the thread must hand on whatever ended it
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, daemon=True, name="moalign-reward").start()
    return future


class InThread:
    """Runs a plain function; after a timeout the thread is left behind, since Python cannot stop one."""

    def __init__(self, fn: Callable[..., Any]):
        self.fn = fn

    def prepare(self) -> None:
        """Be ready: nothing to do."""

    def submit(self, arguments: Mapping[str, Any]) -> "Future[Answer]":
        return in_daemon(lambda: call(self.fn, arguments))

    def abandon(self, future: "Future[Answer]") -> None:
        """Let the thread run on; its result is never read."""

    def close(self) -> None:
        """Nothing is held between calls."""


class Loop:
    """One event loop in one daemon thread, shared by all ``async def`` rewards so that their waiting overlaps."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True, name="moalign-rewards-loop")
        self.thread.start()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(timeout=1.0)
        if not self.thread.is_alive():  # a coroutine that blocks keeps the loop; it dies with the interpreter
            self.loop.close()


class InLoop:
    """Runs an ``async def`` function; it must not block, or it holds up the others."""

    def __init__(self, fn: Callable[..., Any], loop: Loop):
        self.fn = fn
        self.loop = loop

    def prepare(self) -> None:
        """Be ready: the loop already runs."""

    def submit(self, arguments: Mapping[str, Any]) -> "Future[Answer]":
        return asyncio.run_coroutine_threadsafe(call_async(self.fn, arguments), self.loop.loop)

    def abandon(self, future: "Future[Answer]") -> None:
        future.cancel()

    def close(self) -> None:
        """The loop is closed by whoever made it."""
