"""What policies on a transformers model share: sampling, scoring, value heads, micro-batches."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from typing import Any, Required, TypedDict

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from moalign.errors import ConfigError
from moalign.policies.batches import blocks, micro_batches
from moalign.policies.checkpointing import checkpointable, checkpointed
from moalign.policies.engines import Engine, Transformers
from moalign.policies.prompts import ReadPrompts, can_read_prompts, shared_prompts
from moalign.policies.scoring import (
    completion_logits,
    cuts,
    hidden_scores,
    only_linear,
    output_layer,
    pass_overhead,
    token_scores,
)
from moalign.policies.shared_rows import own_groups, shared
from moalign.policies.stacked import StackedMembers, positions
from moalign.records import START, Couples, Need, Outputs, Requests, Rows, Samples, Snapshot, Stream

HEAD, HEAD_BIAS = "value_head.weight", "value_head.bias"
TRANSFORMERS = Transformers()


class ModelOptions(TypedDict, total=False):
    """What every policy on a Hugging Face model takes; see `ModelPolicy` for the defaults."""

    pad_id: Required[int]
    eos_ids: Required[Sequence[int]]
    tokenizer: Any  # saved beside a member
    value_heads: int  # per member, on the last hidden state
    detach_values: bool  # the heads' gradient stops at the hidden state
    micro_rows: int | None  # rows of one forward pass
    micro_members: int  # members of one forward pass
    sample_rows: int | None  # rows sampled at once
    engine: Engine  # what samples
    gradient_checkpointing: bool


class ModelPolicy(StackedMembers):
    """Members that one transformers model can be made to act as; subclasses say how in `acting`."""

    together = True  # whether `acting` takes several members at once
    max_logits = 2**26  # held at once while scoring: 256 MiB in float32

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
        sample_rows: int | None = None,
        engine: Engine = TRANSFORMERS,
        gradient_checkpointing: bool = False,
    ):
        for name, limit in (("micro_rows", micro_rows), ("sample_rows", sample_rows)):
            if limit is not None and limit < 1:
                raise ConfigError(f"`{name}` must be at least 1, found {limit}; None puts no limit.")
        if micro_members < 1:
            raise ConfigError(f"`micro_members` must be at least 1, found {micro_members}.")
        if gradient_checkpointing:
            checkpointable(model)
        self.model = model.eval()  # no dropout, neither in sampling nor in training
        self.device: torch.device = model.device
        self.pad_id, self.eos_ids, self.tokenizer = pad_id, tuple(eos_ids), tokenizer
        self.value_heads, self.detach_values = value_heads, detach_values
        self.micro_rows, self.micro_members = micro_rows, micro_members
        self.sample_rows, self.engine = sample_rows, engine
        self.gradient_checkpointing = gradient_checkpointing
        self._overhead = pass_overhead(self.device.type)
        self._can_share = can_read_prompts(model)
        self._only_linear: bool | None = None  # found out when it first matters
        needs = {Need.LOGPROBS, Need.ENTROPY, Need.REFERENCE}
        self.provides = frozenset(needs | ({Need.VALUES} if value_heads else set()))
        tensors = dict(tensors)
        if value_heads:
            hidden = output_layer(model).in_features
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
        """Yield micro-batches of the kept rows that are this process's; see `micro_batches`."""
        rows = own_groups(rows, self.mates)
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
        return shared(self.mates, requests, lambda own: self.engine.generate(self, own, stream=stream, at=at))

    def forward(self, rows: Rows, needs: frozenset[Need], *, at: Snapshot | None = None) -> Outputs:
        """Return log-probabilities of the rows' tokens, at their temperatures, and what else is needed; 0 if masked."""
        if Need.VALUES in needs and not self.value_heads:
            raise ConfigError("`needs` has VALUES but the policy has no value heads; build it with `value_heads`.")
        if len(rows) == 0:
            zero = torch.zeros(rows.tokens.shape, device=self.device)
            values = zero[..., None].expand(*zero.shape, self.value_heads) if Need.VALUES in needs else None
            return Outputs(zero, zero if Need.ENTROPY in needs else None, values)
        members, row, real = blocks(rows.member.to(self.device))
        if self.together:
            parts = self._forward(rows, members, row, real, needs, at)
        else:
            parts = [p for i, k in enumerate(members) for p in self._forward(rows, [k], row[[i]], real[[i]], needs, at)]
        # parts hold rows in their own order; `back` finds each of them
        where = torch.cat([index for index, _ in parts])
        back = torch.empty(len(rows), dtype=torch.long, device=self.device)
        slot = torch.arange(len(where), device=self.device)
        back[where[where < len(rows)]] = slot[where < len(rows)]

        def joined(name: str) -> Any:
            values = [getattr(part, name) for _, part in parts]
            return None if values[0] is None else torch.cat(values)[back]

        return Outputs(joined("logprobs"), joined("entropy"), joined("values"))

    def _forward(
        self,
        rows: Rows,
        members: Sequence[int],
        row: Int[Tensor, "block slot"],
        real: Bool[Tensor, "block slot"],
        needs: frozenset[Need],
        at: Snapshot | None,
    ) -> list[tuple[Int[Tensor, "_"], Outputs]]:
        """Score blocks of rows in stretches of similar length, each with its rows' numbers (past the end: filler)."""
        many = len(members)
        mask = rows.completion_mask.to(self.device)
        lengths = mask[row].sum(2)
        order = lengths.argsort(dim=1, stable=True)
        row, real, lengths = row.gather(1, order), real.gather(1, order), lengths.gather(1, order).amax(0).clamp(min=1)
        flat = row.flatten()
        columns = int(rows.prompt_mask.to(self.device)[flat].sum(1).max())
        prompt_tokens = rows.prompt_tokens[:, -columns:].to(self.device)
        prompt_mask = rows.prompt_mask[:, -columns:].to(self.device)
        tokens, temperature = rows.tokens.to(self.device), rows.temperature.to(self.device)
        at_once = self._whole_logits(row.numel() * int(lengths.max()))
        context = self.acting(members, at)
        recompute = self.gradient_checkpointing and torch.is_grad_enabled()
        parts = []
        with ExitStack() as stack:
            stack.enter_context(context)
            if recompute:
                stack.enter_context(checkpointed(self.model, context))
            # one way for all passes of a run: in bfloat16 the two differ, and a ratio would not start at 1
            alone = self.gradient_checkpointing or not self._can_share
            shared = None if alone else shared_prompts(prompt_tokens, prompt_mask, row)
            if shared is not None:
                first, which = shared
                prompts = ReadPrompts(self.model, prompt_tokens[first], prompt_mask[first])
            for start, stop in cuts(lengths.tolist(), before=0 if shared else columns, overhead=self._overhead // many):
                part, length = row[:, start:stop].flatten(), int(lengths[stop - 1])
                whole = len(part) * length <= at_once
                if shared is not None:
                    logits, hidden = prompts(which[:, start:stop].flatten(), tokens[part, :length], logits=whole)
                else:
                    logits, hidden = completion_logits(
                        self.model, prompt_tokens[part], prompt_mask[part], tokens[part, :length], logits=whole
                    )
                scored = tokens[part, :length], temperature[part]
                if whole:
                    logprobs, entropy = token_scores(logits, *scored, entropy=Need.ENTROPY in needs)
                else:
                    head, most = output_layer(self.model), self.max_logits
                    logprobs, entropy = hidden_scores(hidden, head, *scored, most=most, entropy=Need.ENTROPY in needs)
                values = self._values(hidden, members, at) if Need.VALUES in needs else None
                seen = mask[part]
                outputs = Outputs(
                    placed(logprobs, seen),
                    None if entropy is None else placed(entropy, seen),
                    None if values is None else placed(values, seen),
                )
                parts.append((part.masked_fill(~real[:, start:stop].flatten(), len(rows)), outputs))
        return parts

    def _whole_logits(self, positions: int) -> float:
        """Return how many positions' logits may be made at once, of at most so many: all, unless too many and apart.

        Asked before any member acts: the model is run once to see what it does with its head's product.
        """
        head = output_layer(self.model)
        if positions * head.out_features <= self.max_logits or head._forward_hooks:  # a hook adds a member's adapter
            return math.inf
        if self._only_linear is None:
            self._only_linear = only_linear(self.model)
        return self.max_logits / head.out_features if self._only_linear else math.inf

    def _values(
        self, hidden: Float[Tensor, "row token hidden"], members: Sequence[int], at: Snapshot | None
    ) -> Float[Tensor, "row token objective"]:
        if at is START:  # heads start at zero
            return torch.zeros(*hidden.shape[:2], self.value_heads, device=hidden.device)
        tensors, index = self.at(members, at)
        x = (hidden.detach() if self.detach_values else hidden).float().reshape(len(members), -1, hidden.shape[-1])
        weight, bias = (tensors[name][index].to(self.device) for name in (HEAD, HEAD_BIAS))
        return torch.baddbmm(bias[:, None], x, weight).view(*hidden.shape[:2], -1)


def placed(x: Float[Tensor, "row token *rest"], mask: Bool[Tensor, "row width"]) -> Float[Tensor, "row width *rest"]:
    """Append columns up to the mask's width, and set to 0 what is masked.

    >>> placed(torch.tensor([[1.0, 2.0]]), torch.tensor([[True, False, False]]))
    tensor([[1., 0., 0.]])
    """
    wide = torch.cat([x, x.new_zeros(len(x), mask.shape[1] - x.shape[1], *x.shape[2:])], dim=1)
    return wide.masked_fill(~mask.view(*mask.shape, *[1] * (x.dim() - 2)), 0.0)
