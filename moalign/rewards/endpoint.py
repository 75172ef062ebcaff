"""A language model behind an OpenAI-compatible address: many chats at once, retried, none of them holding up a run."""

import asyncio
import http.client
import json
import os
import random
import re
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from moalign.errors import ConfigError, RewardError
from moalign.parts import register
from moalign.rewards.running import in_daemon

Chat = Sequence[Mapping[str, str]]

LATER = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})  # statuses after which asking again may help
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LONGEST_WAIT = 60.0  # seconds between two tries, whatever the server asks for


class _Later(Exception):
    """The server cannot answer now; `after` is how many seconds it asked to wait."""

    def __init__(self, reason: str, after: float = 0.0):
        super().__init__(reason)
        self.after = after


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: following one would hand the key to whoever it names."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


@register("chat-model", "endpoint", test="tests/rewards/test_endpoint.py::test_answers_come_in_the_order_of_the_chats")
@dataclass(frozen=True)
class Endpoint:
    """The model called `model` at `url`, up to and including ``/v1``; vLLM, SGLang, Ollama and hosted ones alike.

    `concurrency` chats are under way at once. A try may take `timeout` seconds; after one that failed for now (no
    connection, no time, statuses 408, 429 and 5xx) it waits `backoff` seconds, doubled each time and at least what
    ``Retry-After`` says, for `retries` more tries, after which the answer is None. Any other refusal raises
    `RewardError`: asking again would not help. The key is read from the environment variable `api_key_variable` when a
    chat is sent; it stands in no field, record or message. Redirects are refused.
    """

    url: str
    model: str
    api_key_variable: str = "OPENAI_API_KEY"  # not set in the environment: no key is sent
    temperature: float = 0.0
    max_tokens: int = 512
    concurrency: int = 16
    timeout: float = 60.0
    retries: int = 4
    backoff: float = 0.5

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.username or parts.password:
            raise ConfigError("`url` of an endpoint must not hold a password; put the key into `api_key_variable`.")
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ConfigError(f"`url` of an endpoint must start with http:// or https://, not {self.url!r}.")
        if not VARIABLE.fullmatch(self.api_key_variable):  # perhaps the key itself, so it is not shown
            raise ConfigError("`api_key_variable` must be the name of an environment variable, not the key itself.")
        if self.concurrency < 1 or self.retries < 0 or self.timeout <= 0 or self.backoff < 0:
            raise ConfigError(
                "`concurrency` of an endpoint must be at least 1, `timeout` above 0, `retries` and `backoff` at least "
                f"0, not {self.concurrency}, {self.timeout:g}, {self.retries} and {self.backoff:g}."
            )

    async def answers(self, chats: Sequence[Chat]) -> list[str | None]:
        """Return the answer to each chat, None where none came in time."""
        free = asyncio.Semaphore(self.concurrency)

        async def one(chat: Chat) -> str | None:
            async with free:
                return await self._tried(chat)

        tasks = [asyncio.ensure_future(one(chat)) for chat in chats]
        try:
            return list(await asyncio.gather(*tasks))
        finally:  # a refusal of one, or a timeout of all, ends the others
            for task in tasks:
                task.cancel()

    async def _tried(self, chat: Chat) -> str | None:
        for tries in range(self.retries + 1):
            try:
                # a thread of its own: urllib blocks, and an event loop's threads are few and outlive it
                sent = asyncio.wrap_future(in_daemon(lambda: self._sent(chat)))
                return await asyncio.wait_for(sent, self.timeout)  # urllib's own limit starts anew with every byte
            except (_Later, TimeoutError) as error:
                after = error.after if isinstance(error, _Later) else 0.0
                if tries < self.retries:
                    wait = self.backoff * 2**tries * (1 + random.random() / 4)  # apart, not all at once again
                    await asyncio.sleep(min(max(wait, after), LONGEST_WAIT))
        return None

    def _sent(self, chat: Chat) -> str:
        key = os.environ.get(self.api_key_variable, "").strip()
        if not key.isascii() or not key.isprintable():
            raise RewardError(f"the key in `{self.api_key_variable}` holds a character that a request cannot carry")
        body = {
            "model": self.model,
            "messages": [dict(message) for message in chat],
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }
        request = urllib.request.Request(
            f"{self.url.rstrip('/')}/chat/completions",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})},
        )
        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=self.timeout) as response:
                told = json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                said = error.read(500).decode(errors="replace")
            if error.code in LATER:
                raise _Later(f"status {error.code}", _seconds(error.headers.get("Retry-After"))) from None
            said = said.replace(key, "…") if key else said
            raise RewardError(f"{self.url} answered with status {error.code}: {said.strip()[:300]}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:  # no connection, no time, no JSON
            raise _Later(type(error).__name__) from None
        try:
            content = told["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            raise _Later("an answer of another form") from None
        return content if isinstance(content, str) else ""


def _seconds(header: str | None) -> float:
    """Return the seconds of a ``Retry-After`` header; 0 for none, or for a date."""
    try:
        return max(0.0, float(header or 0))
    except ValueError:
        return 0.0
