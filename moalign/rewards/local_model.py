"""A language model in this process, as a judge: greedy answers, batched by length."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import torch

from moalign.errors import ConfigError
from moalign.parts import register
from moalign.rewards.endpoint import Chat
from moalign.rewards.running import in_daemon


@register("chat-model", "local", test="tests/rewards/test_local_model.py::test_answers_are_the_models_own_greedy_ones")
@dataclass(frozen=True)
class LocalModel:
    """The causal language model at `path` (or of that hub id), answering greedily, on the GPU if there is one.

    A chat goes through the tokenizer's template; where it has none, the messages' texts are joined by blank lines.
    """

    path: str | Path
    max_tokens: int = 512
    batch_size: int = 16

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or self.batch_size < 1:
            raise ConfigError(
                "`max_tokens` and `batch_size` of a local model must be at least 1, not "
                f"{self.max_tokens} and {self.batch_size}."
            )

    @cached_property
    def _loaded(self) -> tuple[Any, Any, Lock]:
        from moalign.models import best_device, load_model, load_tokenizer

        model: Any = load_model(self.path)
        return model.to(best_device()), load_tokenizer(self.path), Lock()

    def prepare(self) -> None:
        _ = self._loaded

    async def answers(self, chats: Sequence[Chat]) -> list[str | None]:
        """Return the answer to each chat."""
        return await asyncio.wrap_future(in_daemon(lambda: self._answers(chats)))  # the event loop is not held up

    @torch.no_grad()
    def _answers(self, chats: Sequence[Chat]) -> list[str | None]:
        model, tokenizer, lock = self._loaded
        texts = [self._text(chat) for chat in chats]
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]), reverse=True)
        found: list[str | None] = [None] * len(texts)
        with lock:
            for start in range(0, len(order), self.batch_size):
                some = order[start : start + self.batch_size]
                batch = tokenizer(
                    [texts[i] for i in some],
                    padding=True,
                    return_tensors="pt",
                    return_token_type_ids=False,
                    add_special_tokens=tokenizer.chat_template is None,
                ).to(model.device)
                tokens = model.generate(
                    **batch, max_new_tokens=self.max_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id
                )
                said = tokens[:, batch["input_ids"].shape[1] :]
                for i, text in zip(some, tokenizer.batch_decode(said, skip_special_tokens=True)):
                    found[i] = text
        return found

    def _text(self, chat: Chat) -> str:
        tokenizer = self._loaded[1]
        if tokenizer.chat_template is None:
            return "\n\n".join(message["content"] for message in chat) + "\n\n"
        return tokenizer.apply_chat_template([dict(m) for m in chat], tokenize=False, add_generation_prompt=True)
