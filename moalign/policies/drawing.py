"""Random tokens from uniforms that are drawn up front, so that a member's tokens do not depend on its company."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from moalign.records import Requests, Stream


def uniforms(requests: Requests, members: Sequence[str], stream: Stream) -> Float[Tensor, "row token"]:
    """Draw every uniform that the requests can use, each member's from the generator of its own name."""
    out = torch.empty(len(requests.member) * requests.n, requests.max_new_tokens)
    return _drawn(requests, members, stream, out, lambda count, key: torch.rand(count, out.shape[1], generator=key))


def seeds(requests: Requests, members: Sequence[str], stream: Stream) -> Int[Tensor, "row"]:
    """Draw a seed for every completion, each member's from the generator of its own name."""
    out = torch.empty(len(requests.member) * requests.n, dtype=torch.long)
    return _drawn(requests, members, stream, out, lambda n, key: torch.randint(2**63 - 1, (n,), generator=key))


def _drawn(
    requests: Requests,
    members: Sequence[str],
    stream: Stream,
    out: Shaped[Tensor, "row *rest"],
    draw: Callable[[int, torch.Generator], Tensor],
) -> Shaped[Tensor, "row *rest"]:
    """Fill `out` with what would be drawn for its rows if all of their members' requests were here."""
    member = requests.member.cpu().repeat_interleave(requests.n)
    for k, name in enumerate(members):
        rows = (member == k).nonzero().flatten()
        if not len(rows):
            continue
        if requests.place is None:
            out[rows] = draw(len(rows), stream.generator(name))
        else:
            line = requests.place.cpu()[rows // requests.n] * requests.n + rows % requests.n
            out[rows] = draw(int(line.max()) + 1, stream.generator(name))[line]
    return out


def draw(
    logits: Float[Tensor, "row vocabulary"], temperature: Float[Tensor, "row"], uniform: Float[Tensor, "row"]
) -> tuple[Int[Tensor, "row"], Float[Tensor, "row"]]:
    """Invert the cumulative distribution of softmax(logits / temperature) at `uniform`; 0 is greedy.

    Returns the tokens and their log-probabilities at that temperature; a greedy row's are at temperature 1.

    >>> p = torch.tensor([[0.2, 0.3, 0.5]]).log().expand(3, 3)
    >>> draw(p, torch.tensor([1.0, 1.0, 0.0]), torch.tensor([0.1, 0.4, 0.1]))[0].tolist()
    [0, 1, 2]
    """
    greedy = temperature == 0
    logprobs = (logits.float() / temperature.masked_fill(greedy, 1.0)[:, None]).log_softmax(-1)
    cumulative = logprobs.exp().cumsum(-1)
    # Scaling by the total keeps `uniform` below the last entry whatever the sum was rounded to; `right` passes over
    # tokens of probability zero, whose entries repeat the one before.
    point = uniform[:, None] * cumulative[:, -1:]
    sampled = torch.searchsorted(cumulative, point, right=True).squeeze(-1).clamp(max=logits.shape[-1] - 1)
    tokens = torch.where(greedy, logprobs.argmax(-1), sampled)
    return tokens, logprobs.gather(-1, tokens[:, None]).squeeze(-1)
