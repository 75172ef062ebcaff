"""From rows to log-probabilities: one pass over a micro-batch that reads only the completions' positions."""

import functools
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from moalign.errors import ConfigError


def positions_of(mask: Bool[Tensor, "row token"]) -> Int[Tensor, "row token"]:
    """Return each token's position among its row's unmasked ones.

    >>> positions_of(torch.tensor([[False, True, True]])).tolist()
    [[0, 0, 1]]
    """
    return (mask.long().cumsum(1) - 1).clamp(min=0)


def inputs(model: PreTrainedModel, mask: Bool[Tensor, "row token"], new: int) -> dict[str, Any]:
    """Return attention mask and positions for the last `new` of these columns; nothing to say if none is masked."""
    if bool(mask.all()):
        return {}
    said: dict[str, Any] = {"attention_mask": mask.long()}
    if _takes_positions(type(model)):
        said["position_ids"] = positions_of(mask)[:, -new:]
    return said


@functools.cache
def _takes_positions(model: type[PreTrainedModel]) -> bool:
    """Tell whether a model is told positions; one with ALiBi reads the mask. Asked for every token."""
    return "position_ids" in inspect.signature(model.forward).parameters


def output_layer(model: PreTrainedModel) -> nn.Linear:
    """Return the layer that turns hidden states into logits."""
    layer = model.get_output_embeddings()
    if not isinstance(layer, nn.Linear):
        raise ConfigError(f"`model` ends in {type(layer).__name__}; policies need a causal language model's nn.Linear.")
    return layer


class Hidden:
    """Collects what the output layer reads while the context lasts: the last hidden states, at the kept positions.

    With `logits` False the layer is given none of them: a large vocabulary's logits are then never made.
    """

    def __init__(self, model: PreTrainedModel, *, logits: bool = True):
        self.layer, self.logits = output_layer(model), logits
        self.seen: list[Tensor] = []

    def __enter__(self) -> "Hidden":
        self.handle = self.layer.register_forward_pre_hook(self._see)
        return self

    def _see(self, layer: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor] | None:
        self.seen.append(given[0])
        return None if self.logits else (given[0][:, :0],)

    def __exit__(self, *_: object) -> None:
        self.handle.remove()


@torch.no_grad()
def only_linear(model: PreTrainedModel) -> bool:
    """Tell whether logits are the output layer's product and nothing else: some models cap or scale them after it.

    The layer is given large numbers, because near zero a cap does nothing.
    """
    layer = output_layer(model)
    wide = torch.linspace(-1000, 1000, layer.in_features, dtype=layer.weight.dtype, device=layer.weight.device)
    given = wide.view(1, 1, -1)
    handle = layer.register_forward_pre_hook(lambda *_: (given,))
    try:
        token = torch.zeros(1, 1, dtype=torch.long, device=model.device)
        logits = model(input_ids=token, use_cache=False).logits
    finally:
        handle.remove()
    return torch.allclose(logits, layer(given), rtol=1e-3)


def completion_logits(
    model: PreTrainedModel,
    prompt_tokens: Int[Tensor, "row prompt_token"],
    prompt_mask: Bool[Tensor, "row prompt_token"],
    tokens: Int[Tensor, "row token"],
    *,
    logits: bool = True,
) -> tuple[Float[Tensor, "row read vocabulary"], Float[Tensor, "row token hidden"]]:
    """Return the logits of every completion token (none with `logits` False), and the hidden states they come from.

    Columns after a row's end need no mask: attention is causal, so what stands there changes nothing before it.
    """
    length = tokens.shape[1]
    mask = torch.cat([prompt_mask, prompt_mask.new_ones(len(tokens), length - 1)], dim=1)
    with Hidden(model, logits=logits) as hidden:
        read = model(
            input_ids=torch.cat([prompt_tokens, tokens[:, :-1]], dim=1),
            use_cache=False,
            logits_to_keep=length,
            **inputs(model, mask, mask.shape[1]),
        ).logits
    return read, hidden.seen[0]


def pass_overhead(device: str) -> int:
    """Return how many columns a pass of its own costs: little on a CPU, on a GPU many small launches."""
    return 128 if device == "cpu" else 8192


def cuts(lengths: Sequence[int], *, before: int = 0, overhead: int = 256) -> list[tuple[int, int]]:
    """Cut ascending lengths into stretches that are cheap to pad; `before` columns stand before each row.

    A stretch costs its rows times its longest row, and `overhead` columns for being a pass of its own.

    >>> cuts([1, 1, 1, 9], overhead=8), cuts([1, 1, 1, 9], overhead=30)
    ([(0, 3), (3, 4)], [(0, 4)])
    """

    def cut(start: int, stop: int) -> list[tuple[int, int]]:
        costs = [
            (i - start) * (before + lengths[i - 1]) + (stop - i) * (before + lengths[stop - 1])
            for i in range(start + 1, stop)
        ]
        if not costs or min(costs) + overhead >= (stop - start) * (before + lengths[stop - 1]):
            return [(start, stop)]
        middle = start + 1 + costs.index(min(costs))
        return cut(start, middle) + cut(middle, stop)

    return cut(0, len(lengths))


def token_scores(
    logits: Float[Tensor, "row token vocabulary"],
    tokens: Int[Tensor, "row token"],
    temperature: Float[Tensor, "row"],
    *,
    entropy: bool = False,
) -> tuple[Float[Tensor, "row token"], Float[Tensor, "row token"] | None]:
    """Return the tokens' log-probabilities under softmax(logits / temperature), and that distribution's entropy.

    Temperature 0, greedy, has no log-probabilities of its own: 1 is used, as in sampling.

    >>> token_scores(torch.zeros(1, 1, 4), torch.tensor([[2]]), torch.ones(1), entropy=True)
    (tensor([[-1.3863]]), tensor([[1.3863]]))
    """
    return _scores(logits, tokens, _divisor(temperature), entropy)


def _divisor(temperature: Float[Tensor, "*row"]) -> Float[Tensor, "*row"] | None:
    """Return what logits are divided by, or None where that is 1 everywhere; on a GPU, finding out is a wait."""
    if not bool(((temperature != 1) & (temperature != 0)).any()):
        return None
    return temperature.masked_fill(temperature == 0, 1.0)


def _scores(
    logits: Float[Tensor, "row token vocabulary"],
    tokens: Int[Tensor, "row token"],
    divisor: Float[Tensor, "row"] | None,
    entropy: bool,
) -> tuple[Float[Tensor, "row token"], Float[Tensor, "row token"] | None]:
    logits = logits.float()
    if divisor is not None:
        logits = logits / divisor[:, None, None]
    total = logits.logsumexp(-1)
    logprobs = logits.gather(-1, tokens[..., None]).squeeze(-1) - total
    return logprobs, total - (logits.softmax(-1) * logits).sum(-1) if entropy else None


def hidden_scores(
    hidden: Float[Tensor, "row token hidden"],
    layer: nn.Linear,
    tokens: Int[Tensor, "row token"],
    temperature: Float[Tensor, "row"],
    *,
    most: int,
    entropy: bool = False,
) -> tuple[Float[Tensor, "row token"], Float[Tensor, "row token"] | None]:
    """Return what `token_scores` does without ever holding more than about `most` logits, forward or backward.

    Positions are taken a stretch at a time; the backward pass makes a stretch's logits again.
    """
    weight, bias = layer.weight, layer.bias  # as they are now: a member's own may be swapped out later
    many, divisor = max(most // layer.out_features, 1), _divisor(temperature)
    places, named = hidden.flatten(0, 1).split(many), tokens.flatten().split(many)
    lines = [None] * len(places) if divisor is None else divisor[:, None].expand(tokens.shape).flatten().split(many)
    parts = [
        checkpoint(_stretch, *given, weight, bias, entropy, use_reentrant=False, preserve_rng_state=False)
        for given in zip(places, named, lines)
    ]
    logprobs, entropies = (torch.cat(each).view(tokens.shape) for each in zip(*parts))
    return logprobs, entropies if entropy else None


def _stretch(
    hidden: Float[Tensor, "place hidden"],
    tokens: Int[Tensor, "place"],
    divisor: Float[Tensor, "place"] | None,
    weight: Float[Tensor, "vocabulary hidden"],
    bias: Float[Tensor, "vocabulary"] | None,
    entropy: bool,
) -> tuple[Float[Tensor, "place"], Float[Tensor, "place"]]:
    logits = torch.nn.functional.linear(hidden, weight, bias)[:, None]
    logprobs, spread = _scores(logits, tokens[:, None], divisor, entropy)
    return logprobs[:, 0], logprobs.new_zeros(len(logprobs)) if spread is None else spread[:, 0]
