"""Trial steps on a tabular policy: places and measures, by hand."""

import torch
from torch.testing import assert_close

from moalign.policies import Tabular
from moalign.records import Couples, Credit, Need, Rows
from moalign.training.losses import TotalLoss
from moalign.training.trial import Trial


def policy_of(members: int) -> Tabular:
    names = [f"m{k}" for k in range(members)]
    return Tabular(members=names, prompts=1, tokens=1, vocabulary=2)


def rows_of(policy: Tabular, old: float) -> Rows:
    """One completion per member: word 0, of probability 1/2 at the start and exp(old) before."""
    n = len(policy.members)
    zero, yes = torch.zeros(n, dtype=torch.long), torch.ones(n, 1, dtype=torch.bool)
    return Rows(
        members=n,
        member=torch.arange(n),
        prompt_id=zero,
        group=zero,
        prompt_tokens=zero[:, None],
        prompt_mask=yes,
        tokens=zero[:, None],
        completion_mask=yes,
        train_mask=yes,
        keep=yes[:, 0],
        temperature=torch.ones(n),
        index=torch.arange(n),
        old_logprobs=torch.full((n, 1), old),
    )


def test_place_moves_by_the_given_length_down_the_gradient() -> None:
    policy = policy_of(3)
    gradient = {"logits": torch.tensor([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]]).reshape(3, 1, 1, 2)}
    # two equal channels, weights .5 and .5 for the first member, .25 and .25 for the others: 1 and 1/2 of the gradient
    shares = torch.tensor([[0.5, 0.5], [0.25, 0.25], [0.25, 0.25]])
    trial = Trial(policy, [gradient, gradient], shares)
    assert_close(trial.norm, torch.tensor([5.0, 1.0, 0.0]))
    trial.place(torch.tensor([0.5, 2.0, 1.0]))
    expected = torch.tensor([[-0.3, -0.4], [0.0, -2.0], [0.0, 0.0]])
    assert_close(policy.tensors["logits"].detach()[:, 0, 0], expected)
    trial.place(torch.tensor([0.0, 1.0, 0.0]))  # from the start, not from where the last try stood
    assert_close(policy.tensors["logits"].detach()[:, 0, 0], torch.tensor([[0.0, 0.0], [0.0, -1.0], [0.0, 0.0]]))


def test_measure_is_the_loss_and_the_divergence_from_the_old_policy() -> None:
    policy = policy_of(2)
    rows = rows_of(policy, old=-1.0)
    losses = TotalLoss(
        policy=policy,
        terms={"surprise": lambda outputs, part, credit: -outputs.logprobs[..., None]},
        credit=Credit(torch.zeros(2, 1, 1)),
        token_weights=torch.tensor([[1.0], [2.0]]),
        preferences=torch.ones(2, 1),
        needs=frozenset({Need.LOGPROBS}),
        couples=Couples.ROWS,
    )
    loss, kl = Trial(policy, [{"logits": torch.zeros(2, 1, 1, 2)}], torch.ones(2, 1)).measure(rows, losses)
    assert_close(loss, torch.tensor([0.6931, 1.3863]), atol=1e-4, rtol=0)  # log 2, twice log 2
    # log ratio d = 1 - log 2 = 0.3069: e^d - 1 - d = 0.0523
    assert_close(kl, torch.full((2,), 0.0523), atol=1e-4, rtol=0)
