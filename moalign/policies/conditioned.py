"""Behaviours of one member that are told apart by a text before every prompt."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from moalign.errors import ConfigError
from moalign.policies.stacked import checked_names, positions
from moalign.records import Couples, Need, Outputs, Policy, Requests, Rows, Samples, Snapshot, Stacked, Stream
from moalign.runs import write_json

CONDITION = "condition.json"  # beside an adapter or a model: the text that it wants before every prompt


class Conditioned:
    """Members of these names that are one `policy` of one member, each with its own prefix before every prompt.

    The parameters are the policy's, and shared: there is one set, whatever the number of `prefixes`. A member's tokens
    depend on its name, its prefix, its requests and the stream alone; members are sampled one after the other.
    """

    def __init__(self, policy: Policy, prefixes: Mapping[str, str]):
        if len(policy.members) != 1:
            raise ConfigError(f"prefixes tell behaviours of one member apart, and `policy` has {len(policy.members)}.")
        self.policy, self.prefixes, self.tokenizer = policy, dict(prefixes), tokenizer_of(policy)
        self.members = checked_names(list(prefixes))
        self.provides: frozenset[Need] = policy.provides
        self.device: torch.device = policy.device

    def parameters(self) -> dict[str, Stacked]:
        """Return the trainable leaves, which the members share."""
        return {name: Stacked(stacked.tensor, None) for name, stacked in self.policy.parameters().items()}

    def sample(self, requests: Requests, *, stream: Stream, at: Snapshot | None = None) -> Samples:
        """Complete the requests behind their members' prefixes."""
        asked = requests.member.tolist()
        parts, lines = [], []
        for k, name in enumerate(self.members):
            index = (requests.member == k).nonzero().flatten()
            if not len(index):
                continue
            told = [self.prefixes[name]] * len(index)
            tokens, mask = prefixed(requests.prompt_tokens[index], requests.prompt_mask[index], told, self.tokenizer)
            own = Requests(
                torch.zeros_like(index), tokens, mask, requests.n, requests.max_new_tokens, requests.temperature[index]
            )
            # the policy keys its numbers by its own member's name, which is one for all
            keyed = replace(stream, purpose=f"{stream.purpose}/{name}")
            parts.append(self.policy.sample(own, stream=keyed, at=at))
            lines.append((index[:, None] * requests.n + torch.arange(requests.n, device=index.device)).flatten())
        if not asked:
            raise ConfigError("`requests` is empty; ask for at least one completion.")
        back = torch.cat(lines).argsort().to(parts[0].tokens.device)
        return Samples(
            tokens=torch.cat([part.tokens for part in parts])[back],
            completion_mask=torch.cat([part.completion_mask for part in parts])[back],
            logprobs=torch.cat([part.logprobs for part in parts])[back],
            finished=torch.cat([part.finished for part in parts])[back],
        )

    def forward(self, rows: Rows, needs: frozenset[Need], *, at: Snapshot | None = None) -> Outputs:
        """Return the policy's outputs for the rows behind their members' prefixes."""
        told = [self.prefixes[self.members[k]] for k in rows.member.tolist()]
        tokens, mask = prefixed(rows.prompt_tokens, rows.prompt_mask, told, self.tokenizer)
        own = replace(rows, members=1, member=torch.zeros_like(rows.member), prompt_tokens=tokens, prompt_mask=mask)
        return self.policy.forward(own, needs, at=at)

    def split(self, rows: Rows, *, couples: Couples) -> Iterable[Rows]:
        """Yield the policy's micro-batches."""
        return self.policy.split(rows, couples=couples)

    def summed(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Return each tensor's sum over the processes that rows are split among."""
        return self.policy.summed(parts)

    def snapshot(self, members: Sequence[str] | None = None) -> Snapshot:
        """Return copies of the shared tensors, under the policy's own member's name."""
        positions(members or (), self.members)
        return self.policy.snapshot()

    def restore(self, snapshot: Snapshot) -> None:
        """Write a snapshot's tensors back, for all members."""
        self.policy.restore(snapshot)

    def gather(self, parents: Sequence[int], names: Sequence[str]) -> None:
        """Let member i have the prefix of the present member `parents[i]`, and be called `names[i]`."""
        told = [self.prefixes[self.members[k]] for k in parents]
        self.members = checked_names(names)
        self.prefixes = dict(zip(self.members, told, strict=True))

    def mix(self, weights: Float[Tensor, "point member"], names: Sequence[str]) -> Policy:
        """Raise `ConfigError`: members share their parameters, and texts have no mean."""
        raise ConfigError("members that are told apart by a prefix share their parameters; there is nothing to mix.")

    def save(self, member: str, to: Path, *, merged: bool = False) -> None:
        """Write the shared adapter or model, and the member's prefix beside it as ``condition.json``."""
        positions([member], self.members)
        self.policy.save(self.policy.members[0], Path(to), merged=merged)
        write_json(Path(to) / CONDITION, {"prefix": self.prefixes[member]})


def tokenizer_of(policy: Policy) -> Any:
    """Return the tokenizer of a policy, which texts before prompts are read with."""
    tokenizer = getattr(policy, "tokenizer", None)
    if tokenizer is None:
        raise ConfigError("texts before prompts need a policy with a tokenizer; build it with `tokenizer`.")
    return tokenizer


def prefixed(
    tokens: Int[Tensor, "row prompt_token"],
    mask: Bool[Tensor, "row prompt_token"],
    prefixes: Sequence[str],
    tokenizer: Any,
) -> tuple[Int[Tensor, "row longer"], Bool[Tensor, "row longer"]]:
    """Return left-padded prompts with each row's prefix before its own tokens, behind a start token if there is one."""
    distinct = list(dict.fromkeys(prefixes))
    read = dict(zip(distinct, tokenizer(distinct, add_special_tokens=False)["input_ids"] if distinct else []))
    lines = [
        _before([t for t, real in zip(*line) if real], read[prefix], tokenizer.bos_token_id)
        for *line, prefix in zip(tokens.tolist(), mask.tolist(), prefixes, strict=True)
    ]
    width = max((len(line) for line in lines), default=0)
    pad = tokenizer.pad_token_id or 0
    padded = torch.tensor([[pad] * (width - len(line)) + line for line in lines], dtype=torch.long)
    real = torch.tensor([[False] * (width - len(line)) + [True] * len(line) for line in lines], dtype=torch.bool)
    return padded.reshape(-1, width).to(tokens.device), real.reshape(-1, width).to(tokens.device)


def _before(prompt: list[int], prefix: list[int], start: int | None) -> list[int]:
    return prompt[:1] + prefix + prompt[1:] if prompt[:1] == [start] else prefix + prompt
