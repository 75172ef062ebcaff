"""Prompts that many completions share: found, and read once for all of them."""

import copy

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from moalign.policies.batches import blocks
from moalign.policies.scoring import Hidden, inputs


class ReadPrompts:
    """Prompts that are read once, with gradients, for all the completions that follow them.

    Calling it returns the same as `completion_logits` for completions `tokens` of the prompts numbered `prompt`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        prompt_tokens: Int[Tensor, "prompt prompt_token"],
        prompt_mask: Bool[Tensor, "prompt prompt_token"],
    ):
        self.model, self.mask = model, prompt_mask
        self.cache = DynamicCache(config=model.config)
        said = inputs(model, prompt_mask, prompt_mask.shape[1])
        with Hidden(model) as hidden:
            out = model(input_ids=prompt_tokens, past_key_values=self.cache, use_cache=True, logits_to_keep=1, **said)
        self.logits, self.hidden = out.logits, hidden.seen[0]

    def __call__(
        self, prompt: Int[Tensor, "row"], tokens: Int[Tensor, "row token"], *, logits: bool = True
    ) -> tuple[Float[Tensor, "row read vocabulary"], Float[Tensor, "row token hidden"]]:
        first, seen = self.logits[prompt] if logits else self.logits[prompt, :0], self.hidden[prompt]
        new = tokens.shape[1] - 1
        if new == 0:
            return first, seen
        cache = copy.copy(self.cache)
        cache.layers = [copy.copy(layer) for layer in cache.layers]  # growing the copy leaves the prompts' own alone
        cache.batch_select_indices(prompt)
        mask = torch.cat([self.mask[prompt], self.mask.new_ones(len(tokens), new)], dim=1)
        said = inputs(self.model, mask, new)
        with Hidden(self.model, logits=logits) as hidden:
            out = self.model(input_ids=tokens[:, :-1], past_key_values=cache, use_cache=True, **said)
        return torch.cat([first, out.logits], dim=1), torch.cat([seen, hidden.seen[0]], dim=1)


def can_read_prompts(model: PreTrainedModel) -> bool:
    """Tell whether the model's cache is plain keys and values, which gradients can pass and rows can select."""
    plain = (DynamicLayer, DynamicSlidingWindowLayer)
    return all(type(layer) in plain for layer in DynamicCache(config=model.config).layers)


def shared_prompts(
    tokens: Int[Tensor, "row prompt_token"], mask: Bool[Tensor, "row prompt_token"], row: Int[Tensor, "block slot"]
) -> tuple[Int[Tensor, "prompt"], Int[Tensor, "block slot"]] | None:
    """Return a row of each different prompt, in equal blocks, and each slot's prompt; None if that saves little.

    >>> tokens = torch.tensor([[5], [6], [5], [6]])
    >>> shared_prompts(tokens, torch.ones(4, 1, dtype=torch.bool), torch.tensor([[0, 1, 2, 3]]))
    (tensor([0, 1]), tensor([[0, 1, 0, 1]]))
    """
    flat = row.flatten()
    block = torch.arange(len(row), device=row.device).repeat_interleave(row.shape[1])
    lines = torch.cat([block[:, None], mask[flat].long(), tokens[flat].masked_fill(~mask[flat], 0)], dim=1)
    different, which = torch.unique(lines, dim=0, return_inverse=True)
    if 2 * len(different) > len(flat):
        return None
    first = torch.full((len(different),), len(flat), device=row.device)
    first = first.scatter_reduce(0, which, torch.arange(len(flat), device=row.device), "amin")
    _, grid, real = blocks(different[:, 0])
    place = torch.empty_like(first)
    place[grid[real]] = real.flatten().nonzero().squeeze(1)
    return flat[first[grid.flatten()]], place[which].view(row.shape)
