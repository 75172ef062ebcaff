"""Sampling with a transformers model in one loop for all members."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from moalign.parts import register
from moalign.policies.batches import blocks
from moalign.policies.drawing import draw, uniforms
from moalign.policies.scoring import inputs
from moalign.records import Requests, Samples, Snapshot, Stream

SHRINK = 7 / 8  # drop finished rows once the rows that must stay are at most this share: dropping copies the cache


@register("engine", "transformers", test="tests/policies/test_engines.py::test_the_contract")
@dataclass(frozen=True)
class Transformers:
    """The trainer's own model: nothing is copied, and log-probabilities are those that are trained."""

    exact: ClassVar[bool] = True

    def generate(self, policy: Any, requests: Requests, *, stream: Stream, at: Snapshot | None = None) -> Samples:
        """Complete the requests in waves of the policy's `sample_rows`, from uniforms drawn for all of them."""
        numbers = uniforms(requests, policy.members, stream).to(policy.device)
        tokens = torch.full(numbers.shape, policy.pad_id, device=policy.device)
        mask, logprobs = torch.zeros_like(tokens, dtype=torch.bool), torch.zeros_like(numbers)
        finished = torch.zeros(len(numbers), dtype=torch.bool, device=policy.device)
        for index in _waves(policy, requests):
            rows = (index[:, None] * requests.n + torch.arange(requests.n, device=policy.device)).flatten()
            out = generate(
                policy.model,
                requests.select(index),
                numbers[rows],
                acting=lambda members: policy.acting(members, at),
                pad_id=policy.pad_id,
                eos_ids=policy.eos_ids,
            )
            tokens[rows], mask[rows] = out.tokens, out.completion_mask
            logprobs[rows], finished[rows] = out.logprobs, out.finished
        return Samples(tokens, mask, logprobs, finished)


def _waves(policy: Any, requests: Requests) -> Iterator[Int[Tensor, "_"]]:
    """Yield the numbers of requests to complete at once: of all members if they act together, of one if not."""
    members, request, real = blocks(requests.member)
    step = len(members) if policy.together else 1
    many = request.shape[1]
    size = many if policy.sample_rows is None else max(policy.sample_rows // (step * requests.n), 1)
    for i in range(0, len(members), step):
        for j in range(0, many, size):
            index = request[i : i + step, j : j + size][real[i : i + step, j : j + size]]
            if len(index):
                yield index


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    requests: Requests,
    uniforms: Float[Tensor, "row token"],
    *,
    acting: Callable[[Sequence[int]], AbstractContextManager[object]],
    pad_id: int,
    eos_ids: Sequence[int],
    drop: bool = True,
) -> Samples:
    """Complete the requests, token by token, from uniforms that are inverted through the model's distribution.

    Each prompt is read once and its cache repeated `n` times. Rows lie in equal blocks, one per member;
    ``acting(members)`` is the reusable context in which the model answers a batch of such blocks. With `drop`, rows
    that have finished leave the batch, as far as the blocks stay equal; a member that has none left leaves too.
    """
    device = uniforms.device
    members, request, real = blocks(requests.member)
    context = acting(members)
    n, limit, many = requests.n, requests.max_new_tokens, len(requests.member) * requests.n
    width = int(requests.prompt_mask.sum(1).max())
    prompt = requests.prompt_tokens[request.flatten(), -width:]
    prompt_mask = requests.prompt_mask[request.flatten(), -width:]

    cache = DynamicCache(config=model.config)
    with context:
        said = inputs(model, prompt_mask, width)
        logits = model(input_ids=prompt, past_key_values=cache, use_cache=True, logits_to_keep=1, **said).logits[:, -1]
    cache.batch_repeat_interleave(n)
    logits = logits.repeat_interleave(n, 0)
    written = _Written(many, limit, pad_id, eos_ids, device)
    row = (request[:, :, None] * n + torch.arange(n, device=device)).flatten(1)  # block slot
    done = ~real.repeat_interleave(n, 1)
    row = row.masked_fill(done, many).flatten()
    temperature = torch.cat([requests.temperature.repeat_interleave(n), uniforms.new_ones(1)])[row]
    uniform = torch.cat([uniforms, uniforms.new_zeros(1, limit)])[row]
    seen = torch.cat([prompt_mask.repeat_interleave(n, 0), prompt_mask.new_ones(len(row), limit)], dim=1)

    for t in range(limit):
        token, logprob = draw(logits, temperature, uniform[:, t])
        done = done | written.add(t, row, token, logprob, ~done.flatten()).view(done.shape)
        counts = (~done).sum(1).tolist()
        if t + 1 == limit or not any(counts):
            break
        going = [i for i, count in enumerate(counts) if count]
        slots = max(counts)
        if drop and len(going) * slots <= SHRINK * done.numel():
            stay, done = _staying(done, going, slots)
            cache.batch_select_indices(stay)
            token, row, seen = token[stay], row[stay], seen[stay]
            temperature, uniform = temperature[stay], uniform[stay]
            if len(going) < len(members):
                members = [members[i] for i in going]
                context = acting(members)
        with context:
            said = inputs(model, seen[:, : width + t + 1], 1)
            logits = model(input_ids=token[:, None], past_key_values=cache, use_cache=True, logits_to_keep=1, **said)
            logits = logits.logits[:, -1]
    return written.samples()


class _Written:
    """Completions as far as they are; one line more than there are rows, where fillers write."""

    def __init__(self, rows: int, limit: int, pad_id: int, eos_ids: Sequence[int], device: torch.device):
        self.pad_id, self.ends = pad_id, torch.tensor(list(eos_ids), device=device)
        self.tokens = torch.full((rows + 1, limit), pad_id, device=device)
        self.logprobs = torch.zeros(rows + 1, limit, device=device)
        self.mask = torch.zeros(rows + 1, limit, dtype=torch.bool, device=device)
        self.finished = torch.zeros(rows + 1, dtype=torch.bool, device=device)

    def add(
        self,
        t: int,
        row: Int[Tensor, "slot"],
        token: Int[Tensor, "slot"],
        logprob: Float[Tensor, "slot"],
        live: Bool[Tensor, "slot"],
    ) -> Bool[Tensor, "slot"]:
        """Write the tokens at position `t` of the rows that go on; return which of them end with it."""
        self.tokens[row, t] = torch.where(live, token, self.pad_id)
        self.logprobs[row, t] = torch.where(live, logprob, 0.0)
        self.mask[row, t] = live
        end = live & torch.isin(token, self.ends)
        self.finished[row] |= end
        return end

    def samples(self) -> Samples:
        """Return what was written, without the fillers' line."""
        return Samples(self.tokens[:-1], self.mask[:-1], self.logprobs[:-1], self.finished[:-1])


def _staying(
    done: Bool[Tensor, "block slot"], going: Sequence[int], slots: int
) -> tuple[Int[Tensor, "row"], Bool[Tensor, "going kept"]]:
    """Return the rows that stay, `slots` in each block that goes on, unfinished ones first, and which are finished."""
    stay = torch.argsort(done.long(), dim=1, stable=True)[:, :slots]
    start = torch.tensor(going, device=done.device)[:, None] * done.shape[1]
    return (stay[going] + start).flatten(), done.gather(1, stay)[going]
