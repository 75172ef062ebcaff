"""Requests to stop."""

import os
import signal
import time

import pytest

from moalign.training.stopping import SIGNALS, Stopping


@pytest.mark.parametrize("number", SIGNALS)
def test_it_waits_or_leaves_at_once(number: signal.Signals) -> None:
    before = [signal.getsignal(one) for one in SIGNALS]
    with Stopping() as stopping:
        os.kill(os.getpid(), number)
        assert stopping.asked
        with pytest.raises(SystemExit) as left, stopping.at_once():
            pytest.fail("it was asked before")
        assert left.value.code == 75
    with Stopping() as stopping, pytest.raises(SystemExit) as left, stopping.at_once():
        os.kill(os.getpid(), number)
        pytest.fail("it goes on")
    assert left.value.code == 75
    assert [signal.getsignal(one) for one in SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_forked_worker_can_be_ended(number: signal.Signals) -> None:
    with Stopping() as stopping:
        ready, tell = os.pipe()
        worker = os.fork()
        if worker == 0:
            try:
                os.write(tell, b"!")  # a signal before this may be lost in the fork
                time.sleep(60)
            finally:
                os._exit(1)
        assert os.read(ready, 1) == b"!"
        os.kill(worker, number)
        assert os.WTERMSIG(os.waitpid(worker, 0)[1]) == number
        assert not stopping.asked
