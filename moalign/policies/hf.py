"""What policies on a transformers model share: sampling, scoring, value heads, micro-batches."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from moalign.errors import ConfigError
from moalign.policies.batches import blocks, micro_batches
from moalign.policies.checkpointing import checkpointed
from moalign.policies.drawing import uniforms
from moalign.policies.engines import generate
from moalign.policies.scoring import can_share_prompts, completion_logits, shared_prompt_logits, token_scores
from moalign.policies.stacked import StackedMembers, positions
from moalign.records import START, Couples, Need, Outputs, Requests, Rows, Samples, Snapshot, Stream

HEAD, HEAD_BIAS = "value_head.weight", "value_head.bias"


class ModelPolicy(StackedMembers):
    """Members that one transformers model can be made to act as; subclasses say how in `acting`."""

    together = True  # whether `acting` takes several members at once

    def __init__(
        self,
        model: PreTrainedModel,
        members: Sequence[str],
        tensors: Mapping[str, Tensor],
        *,
        pad_id: int,
        eos_ids: Sequence[int],
        tokenizer: Any = None,
        value_heads: int = 0,
        detach_values: bool = True,
        micro_rows: int | None = None,
        micro_members: int = 1,
        gradient_checkpointing: bool = False,
    ):
        if micro_rows is not None and micro_rows < 1:
            raise ConfigError(f"`micro_rows` must be at least 1, found {micro_rows}; None puts no limit.")
        if micro_members < 1:
            raise ConfigError(f"`micro_members` must be at least 1, found {micro_members}.")
        self.model = model.eval()  # no dropout, neither in sampling nor in training
        self.device: torch.device = model.device
        self.pad_id, self.eos_ids, self.tokenizer = pad_id, tuple(eos_ids), tokenizer
        self.value_heads, self.detach_values = value_heads, detach_values
        self.micro_rows, self.micro_members = micro_rows, micro_members
        self.gradient_checkpointing = gradient_checkpointing
        needs = {Need.LOGPROBS, Need.ENTROPY, Need.REFERENCE, Need.GRAM}
        self.provides = frozenset(needs | ({Need.VALUES} if value_heads else set()))
        tensors = dict(tensors)
        if value_heads:
            hidden = model.get_output_embeddings().weight.shape[1]
            tensors[HEAD] = torch.zeros(len(members), hidden, value_heads, device=self.device)
            tensors[HEAD_BIAS] = torch.zeros(len(members), value_heads, device=self.device)
        super().__init__(members, tensors)

    def acting(self, members: Sequence[int], at: Snapshot | None) -> AbstractContextManager[object]:
        """Return a reusable context in which the model answers equal blocks of rows, one for each of these members."""
        raise TypeError(f"{type(self).__name__} must define `acting`.")

    def at(self, members: Sequence[int], at: Snapshot | None) -> tuple[Mapping[str, Tensor], list[int]]:
        """Return the tensors to act with, the policy's own or a snapshot's, and where these members stand in them."""
        if at is None:
            return self.tensors, list(members)
        return at.tensors, positions([self.members[k] for k in members], at.members)

    def split(self, rows: Rows, *, couples: Couples) -> Iterator[Rows]:
        """Yield micro-batches of the kept rows; see `micro_batches`."""
        return micro_batches(rows, couples=couples, micro_rows=self.micro_rows, micro_members=self.micro_members)

    def sample(self, requests: Requests, *, stream: Stream, at: Snapshot | None = None) -> Samples:
        """Complete the requests; a member's tokens depend on its name, its requests and the stream alone."""
        requests = replace(
            requests,
            member=requests.member.to(self.device),
            prompt_tokens=requests.prompt_tokens.to(self.device),
            prompt_mask=requests.prompt_mask.to(self.device),
            temperature=requests.temperature.to(self.device),
        )
        numbers = uniforms(requests, self.members, stream).to(self.device)
        if self.together:
            return self._generate(requests, numbers, at)
        many = len(numbers)
        tokens = torch.full(numbers.shape, self.pad_id, device=self.device)
        mask, logprobs = torch.zeros_like(tokens, dtype=torch.bool), torch.zeros_like(numbers)
        finished = torch.zeros(many, dtype=torch.bool, device=self.device)
        for k in requests.member.unique().tolist():
            mine = requests.member == k
            rows = mine.repeat_interleave(requests.n)
            part = replace(
                requests,
                member=requests.member[mine],
                prompt_tokens=requests.prompt_tokens[mine],
                prompt_mask=requests.prompt_mask[mine],
                temperature=requests.temperature[mine],
            )
            out = self._generate(part, numbers[rows], at)
            tokens[rows], mask[rows] = out.tokens, out.completion_mask
            logprobs[rows], finished[rows] = out.logprobs, out.finished
        return Samples(tokens, mask, logprobs, finished)

    def _generate(self, requests: Requests, numbers: Float[Tensor, "row token"], at: Snapshot | None) -> Samples:
        return generate(
            self.model,
            requests,
            numbers,
            acting=lambda members: self.acting(members, at),
            pad_id=self.pad_id,
            eos_ids=self.eos_ids,
        )

    def forward(self, rows: Rows, needs: frozenset[Need], *, at: Snapshot | None = None) -> Outputs:
        """Return log-probabilities of the rows' tokens, and what else is needed, at each row's temperature."""
        if Need.VALUES in needs and not self.value_heads:
            raise ConfigError("`needs` has VALUES but the policy has no value heads; build it with `value_heads`.")
        if len(rows) == 0:
            zero = torch.zeros(rows.tokens.shape, device=self.device)
            return Outputs(zero, zero if Need.ENTROPY in needs else None, None)
        member, real = rows.member.to(self.device), None
        members, row, real = blocks(member)
        if self.together:
            parts = [self._forward(rows, members, row, needs, at)]
            place = row[real]
            order = real.flatten().nonzero().squeeze(1)
        else:
            parts = [self._forward(rows, [k], row[[i]][:, real[i]], needs, at) for i, k in enumerate(members)]
            place = row[real]
            order = torch.arange(len(place), device=self.device)
        # parts hold rows block after block; `back` finds row i among them
        back = torch.empty_like(place)
        back[place] = order

        def joined(name: str) -> Any:
            values = [getattr(part, name) for part in parts]
            return None if values[0] is None else torch.cat(values)[back]

        return Outputs(joined("logprobs"), joined("entropy"), joined("values"))

    def _forward(
        self,
        rows: Rows,
        members: Sequence[int],
        row: Int[Tensor, "block slot"],
        needs: frozenset[Need],
        at: Snapshot | None,
    ) -> Outputs:
        """Score these rows, block after block, in as few columns as they fill."""
        flat = row.flatten()
        everything = rows.tokens.shape[1]
        prompts, length = int(rows.prompt_mask[flat].sum(1).max()), int(rows.completion_mask[flat].sum(1).max())
        length = max(length, 1)
        prompt_tokens = rows.prompt_tokens[flat, -prompts:].to(self.device)
        prompt_mask = rows.prompt_mask[flat, -prompts:].to(self.device)
        tokens = rows.tokens[flat, :length].to(self.device)
        temperature = rows.temperature[flat].to(self.device)
        context = self.acting(members, at)
        recompute = self.gradient_checkpointing and torch.is_grad_enabled()
        with ExitStack() as stack:
            stack.enter_context(context)
            if recompute:
                stack.enter_context(checkpointed(self.model, context))
            shared = None if recompute else self._shared(prompt_tokens, prompt_mask, len(members))
            if shared is None:
                logits, hidden = completion_logits(self.model, prompt_tokens, prompt_mask, tokens)
            else:
                first, which = shared
                logits, hidden = shared_prompt_logits(
                    self.model, prompt_tokens[first], prompt_mask[first], which, tokens
                )
        logprobs, entropy = token_scores(logits, tokens, temperature, entropy=Need.ENTROPY in needs)
        values = self._values(hidden, members, at) if Need.VALUES in needs else None

        def widened(x: Tensor | None) -> Any:
            if x is None:
                return None
            return torch.cat([x, x.new_zeros(len(x), everything - length, *x.shape[2:])], dim=1)

        return Outputs(widened(logprobs), widened(entropy), widened(values))

    def _shared(
        self, tokens: Int[Tensor, "row prompt_token"], mask: Tensor, many: int
    ) -> tuple[Int[Tensor, "prompt"], Int[Tensor, "row"]] | None:
        """Return a row of each different prompt, in equal blocks, and each row's prompt; None if that saves little."""
        if not self._can_share:
            return None
        block = torch.arange(many, device=tokens.device).repeat_interleave(len(tokens) // many)
        lines = torch.cat([block[:, None], mask.long(), tokens.masked_fill(~mask, 0)], dim=1)
        different, which = torch.unique(lines, dim=0, return_inverse=True)
        if 2 * len(different) > len(tokens):
            return None
        first = torch.full((len(different),), len(tokens), device=tokens.device)
        first.scatter_reduce_(0, which, torch.arange(len(tokens), device=tokens.device), "amin")
        _, grid, real = blocks(different[:, 0])
        place = torch.empty(len(different), dtype=torch.long, device=tokens.device)
        place[grid[real]] = real.flatten().nonzero().squeeze(1)
        return first[grid.flatten()], place[which]

    @property
    def _can_share(self) -> bool:
        return can_share_prompts(self.model)

    def _values(
        self, hidden: Float[Tensor, "row token hidden"], members: Sequence[int], at: Snapshot | None
    ) -> Float[Tensor, "row token objective"]:
        if at is START:  # heads start at zero
            return torch.zeros(*hidden.shape[:2], self.value_heads, device=hidden.device)
        tensors, index = self.at(members, at)
        x = (hidden.detach() if self.detach_values else hidden).float().reshape(len(members), -1, hidden.shape[-1])
        return torch.baddbmm(tensors[HEAD_BIAS][index][:, None], x, tensors[HEAD][index]).view(*hidden.shape[:2], -1)
