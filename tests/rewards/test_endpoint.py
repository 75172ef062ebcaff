"""Chats over HTTP: many at once, retried, refused, and the key kept to itself."""

import asyncio
import threading
import time

import pytest

from moalign.errors import ConfigError, RewardError
from moalign.parts import spec
from moalign.rewards import Endpoint
from tests.rewards.judging import completion, serving

SECRET = "sk-do-not-tell"


def ask(endpoint, *texts):
    return asyncio.run(endpoint.answers([[{"role": "user", "content": text}] for text in texts]))


def test_answers_come_in_the_order_of_the_chats(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", SECRET + "\n")  # as from a file
    slow = {"a": 0.05, "b": 0.0}

    def reply(text):
        time.sleep(slow[text])
        return text.upper()

    with serving(reply) as server:
        endpoint = Endpoint(server.url, "tiny", "JUDGE_KEY", temperature=0.5, max_tokens=7)
        assert ask(endpoint, "a", "b") == ["A", "B"]
    assert server.headers[0]["Authorization"] == f"Bearer {SECRET}"
    first = next(body for body in server.bodies if body["messages"][0]["content"] == "a")
    assert first == {"model": "tiny", "messages": [{"role": "user", "content": "a"}], "temperature": 0.5,
                     "max_tokens": 7}  # fmt: skip


def test_without_a_key_none_is_sent(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with serving(str.upper) as server:
        assert ask(Endpoint(server.url + "/", "tiny"), "a") == ["A"]
    assert "Authorization" not in server.headers[0]


def test_no_more_than_so_many_are_under_way():
    together = threading.Barrier(3, timeout=5)

    def reply(text):
        together.wait()  # passed only if three are under way
        return text

    with serving(reply) as server:
        texts = [str(i) for i in range(9)]
        assert ask(Endpoint(server.url, "tiny", concurrency=3), *texts) == texts
    assert server.most == 3


def test_what_fails_for_now_is_tried_again_and_waits_as_told():
    replies = [
        (503, "busy", {}),
        (429, "slow down", {"Retry-After": "0.1"}),
        (200, "no json", {}),
        (200, "[]", {}),
        "yes",
    ]
    times = []

    def reply(text):
        times.append(time.monotonic())
        return replies[len(times) - 1]

    with serving(reply) as server:
        assert ask(Endpoint(server.url, "tiny", backoff=0.001), "a") == ["yes"]
        assert times[2] - times[1] >= 0.1
        times.clear()
        assert ask(Endpoint(server.url, "tiny", backoff=0.0, retries=1), "a") == [None]
        assert len(times) == 2


def test_a_slow_answer_is_given_up_and_no_server_is_no_answer():
    with serving(lambda text: 0.3 if text == "slow" else text) as server:
        endpoint = Endpoint(server.url, "tiny", timeout=0.1, retries=0)
        started = time.monotonic()
        assert ask(endpoint, "slow", "quick") == [None, "quick"]
        assert time.monotonic() - started < 0.28
        gone = server.url
    assert ask(Endpoint(gone, "tiny", retries=1, backoff=0.001), "a") == [None]


def test_a_refusal_is_an_error_that_tells_no_secret(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with serving(lambda text: (401, f"Incorrect API key provided: {SECRET}", {})) as server:
        with pytest.raises(RewardError, match="status 401: Incorrect API key provided: …") as caught:
            ask(Endpoint(server.url, "tiny"), "a", "b", "c")
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
    with serving(lambda text: (307, "", {"Location": "http://elsewhere.invalid/"})) as server:
        with pytest.raises(RewardError, match="status 307"):
            ask(Endpoint(server.url, "tiny"), "a")
    monkeypatch.setenv("OPENAI_API_KEY", "two\nlines")
    with pytest.raises(RewardError, match=r"the key in `OPENAI_API_KEY` holds a character") as caught:
        ask(Endpoint("http://127.0.0.1:9/v1", "tiny", retries=0), "a")
    assert "lines" not in str(caught.value)


def test_records_hold_no_secret_and_wrong_fields_are_told(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    endpoint = Endpoint("https://host/v1", "tiny")
    assert SECRET not in f"{spec(endpoint)} {endpoint!r}" and spec(endpoint)["model"] == "tiny"
    with pytest.raises(ConfigError, match="must not hold a password") as caught:
        Endpoint(f"https://me:{SECRET}@host/v1", "tiny")
    assert SECRET not in str(caught.value)
    with pytest.raises(ConfigError, match="the name of an environment variable") as caught:
        Endpoint("https://host/v1", "tiny", SECRET)
    assert SECRET not in str(caught.value)
    with pytest.raises(ConfigError, match="must start with http:// or https://, not 'file:///etc/passwd'"):
        Endpoint("file:///etc/passwd", "tiny")
    with pytest.raises(ConfigError, match="`concurrency` of an endpoint must be at least 1"):
        Endpoint("https://host/v1", "tiny", concurrency=0)


def test_an_answer_without_text_is_empty_not_missing():
    with serving(lambda text: (200, completion(None), {})) as server:
        assert ask(Endpoint(server.url, "tiny"), "a") == [""]
