"""A policy of independent categorical tokens: no model, and means in closed form."""

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors.torch import save_file
from torch import Tensor

from moalign.errors import ConfigError
from moalign.policies.batches import micro_batches
from moalign.policies.drawing import draw, uniforms
from moalign.policies.scoring import token_scores
from moalign.policies.stacked import StackedMembers, averaged, checked_names, positions
from moalign.records import START, Couples, Need, Outputs, Requests, Rows, Samples, Snapshot, Stream


class Tabular(StackedMembers):
    """Token t of prompt p is drawn from softmax(`logits`[member, p, t]), whatever came before it.

    A prompt's last token is its number p. Completions have `tokens` tokens, or end with `eos_id` if there is one.
    With `value_heads`, a value per member, prompt, position and objective, from zero. Every member starts at `start`.

    >>> policy = Tabular(members=["a"], prompts=2, tokens=3, vocabulary=5)
    >>> policy.parameters()["logits"].tensor.shape
    torch.Size([1, 2, 3, 5])
    """

    def __init__(
        self,
        *,
        members: Sequence[str],
        prompts: int,
        tokens: int,
        vocabulary: int,
        start: Float[Tensor, "prompt position vocabulary"] | None = None,
        pad_id: int = 0,
        eos_id: int | None = None,
        value_heads: int = 0,
        micro_rows: int | None = None,
    ):
        members = checked_names(members)
        self.start = torch.zeros(prompts, tokens, vocabulary) if start is None else start.detach().clone()
        if self.start.shape != (prompts, tokens, vocabulary):
            raise ConfigError(f"`start` has shape {list(self.start.shape)}; pass {[prompts, tokens, vocabulary]}.")
        self.device = self.start.device
        self.pad_id, self.eos_id, self.value_heads, self.micro_rows = pad_id, eos_id, value_heads, micro_rows
        needs = {Need.LOGPROBS, Need.ENTROPY, Need.REFERENCE}
        self.provides = frozenset(needs | ({Need.VALUES} if value_heads else set()))
        tensors = {"logits": torch.stack([self.start] * len(members))}
        if value_heads:
            tensors["values"] = torch.zeros(len(members), prompts, tokens, value_heads)
        super().__init__(members, tensors)

    def split(self, rows: Rows, *, couples: Couples) -> Iterator[Rows]:
        """Yield micro-batches of the kept rows, all members together."""
        return micro_batches(rows, couples=couples, micro_rows=self.micro_rows, micro_members=len(self.members))

    def _rows_of(
        self,
        name: str,
        member: Int[Tensor, "row"],
        prompt_tokens: Int[Tensor, "row prompt_token"],
        at: Snapshot | None,
    ) -> Float[Tensor, "row position _"]:
        prompt = prompt_tokens[:, -1]
        if at is START:
            if name == "values":
                return torch.zeros(len(member), self.start.shape[1], self.value_heads)
            return self.start[prompt]
        if at is None:
            return self.tensors[name][member, prompt]
        present = member.unique()
        place = torch.zeros(len(self.members), dtype=torch.long)
        place[present] = torch.tensor(positions([self.members[k] for k in present.tolist()], at.members))
        return at.tensors[name][place[member], prompt]

    @torch.no_grad()
    def sample(self, requests: Requests, *, stream: Stream, at: Snapshot | None = None) -> Samples:
        """Complete the requests; a member's tokens depend on its name, its requests and the stream alone."""
        numbers = uniforms(requests, self.members, stream)
        member = requests.member.repeat_interleave(requests.n)
        prompt_tokens = requests.prompt_tokens.repeat_interleave(requests.n, 0)
        logits = self._rows_of("logits", member, prompt_tokens, at)
        length = min(requests.max_new_tokens, logits.shape[1])
        temperature = requests.temperature.repeat_interleave(requests.n)
        flat, logprobs = draw(
            logits[:, :length].flatten(0, 1), temperature.repeat_interleave(length), numbers[:, :length].flatten()
        )
        tokens, logprobs = flat.view(len(member), length), logprobs.view(len(member), length)
        mask = torch.ones_like(tokens, dtype=torch.bool)
        finished = torch.full((len(member),), length == logits.shape[1])
        if self.eos_id is not None:
            end = tokens == self.eos_id
            mask, finished = end.cumsum(1) - end.long() == 0, end.any(1)
        return Samples(tokens.masked_fill(~mask, self.pad_id), mask, logprobs.masked_fill(~mask, 0.0), finished)

    def forward(self, rows: Rows, needs: frozenset[Need], *, at: Snapshot | None = None) -> Outputs:
        """Return log-probabilities of the rows' tokens, at their temperatures, and what else is needed; 0 if masked."""
        if Need.VALUES in needs and not self.value_heads:
            raise ConfigError("`needs` has VALUES but the policy has no value heads; build it with `value_heads`.")
        length, prompt = rows.tokens.shape[1], rows.prompt_tokens
        if length > self.start.shape[1]:
            raise ConfigError(
                f"`rows` has {length} tokens a row, the policy {self.start.shape[1]}; give it more `tokens`."
            )
        logits = self._rows_of("logits", rows.member, prompt, at)[:, :length]
        logprobs, entropy = token_scores(logits, rows.tokens, rows.temperature, entropy=Need.ENTROPY in needs)
        values = self._rows_of("values", rows.member, prompt, at)[:, :length] if Need.VALUES in needs else None
        masked = ~rows.completion_mask
        return Outputs(
            logprobs.masked_fill(masked, 0.0),
            None if entropy is None else entropy.masked_fill(masked, 0.0),
            None if values is None else values.masked_fill(masked[..., None], 0.0),
        )

    def mix(self, weights: Float[Tensor, "point member"], names: Sequence[str]) -> "Tabular":
        """Return new members whose logits, and values, are Σ w[k]·logits[k]."""
        other = copy.copy(self)
        other._adopt(names, averaged(self.tensors, weights, names))
        return other

    def save(self, member: str, to: Path, *, merged: bool = False) -> None:
        """Write one member's tensors as ``tabular.safetensors``; there is nothing to be `merged` with."""
        to = Path(to)
        to.mkdir(parents=True, exist_ok=True)
        k = self.position(member)
        save_file(
            {name: tensor.detach()[k].contiguous().clone() for name, tensor in self.tensors.items()},
            to / "tabular.safetensors",
        )
