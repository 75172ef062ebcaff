from types import SimpleNamespace

import pytest
import torch

from moalign.errors import ConfigError
from moalign.records import Couples, Credit, Need, Outputs, Policy, Rows, Stacked
from moalign.training.line_search import LineSearch
from moalign.training.losses import TotalLoss, complete

MEMBERS, PROMPTS, WORDS, PER_PROMPT = 3, 2, 4, 6


class Softmax(Policy):
    """One token per answer: logits by member and prompt. Split into two micro-batches."""

    provides, device = frozenset({Need.LOGPROBS}), torch.device("cpu")

    def __init__(self) -> None:
        self.members = tuple(f"m{k}" for k in range(MEMBERS))
        start = torch.randn(MEMBERS, PROMPTS, WORDS, generator=torch.Generator().manual_seed(0))
        self.logits = (0.3 * start).requires_grad_()

    def parameters(self):
        return {"logits": Stacked(self.logits, 0)}

    def forward(self, rows, needs, *, at=None):
        table = self.logits.log_softmax(dim=2)[rows.member, rows.prompt_id]
        return Outputs(logprobs=table.gather(1, rows.tokens))

    def split(self, rows, *, couples):
        for part in torch.arange(len(rows)).chunk(2):
            yield rows.select(part)


def problem(scale: float = 1.0) -> tuple[Softmax, Rows, TotalLoss]:
    policy, generator = Softmax(), torch.Generator().manual_seed(1)
    n = MEMBERS * PROMPTS * PER_PROMPT
    index = torch.arange(n)
    member, prompt = index // (PROMPTS * PER_PROMPT), index // PER_PROMPT % PROMPTS
    ones = torch.ones(n, 1, dtype=torch.long)
    rows = Rows(
        members=MEMBERS,
        member=member,
        prompt_id=prompt,
        group=prompt,
        prompt_tokens=ones,
        prompt_mask=ones.bool(),
        tokens=torch.randint(WORDS, (n, 1), generator=generator),
        completion_mask=ones.bool(),
        train_mask=ones.bool(),
        keep=torch.ones(n, dtype=torch.bool),
        temperature=torch.ones(n),
        index=index,
    )
    rows = complete(policy, rows, needs=frozenset(), couples=Couples.ROWS, passes=LineSearch.passes)
    # two channels: reward for word 0, and against word 3
    advantages = torch.stack([(rows.tokens == 0).float() - 0.25, 0.25 - (rows.tokens == 3).float()], dim=2) * scale

    def surrogate(outputs, part, credit):
        return -(outputs.logprobs - part.old_logprobs).exp()[:, :, None] * credit.advantages

    losses = TotalLoss(
        policy=policy,
        terms={"policy": surrogate},
        credit=Credit(advantages),
        token_weights=torch.full((n, 1), 1 / (PROMPTS * PER_PROMPT)),
        preferences=torch.full((MEMBERS, 2), 0.5),
        needs=frozenset({Need.LOGPROBS}),
        couples=Couples.ROWS,
    )
    return policy, rows, losses


def total(policy, rows, losses):
    with torch.no_grad():
        parts = [losses(part) * losses.preferences for part in policy.split(rows, couples=Couples.ROWS)]
        return torch.stack(parts).sum(dim=(0, 2))


def mean_kl(policy, rows):
    with torch.no_grad():
        log_ratio = (policy.forward(rows, frozenset()).logprobs - rows.old_logprobs)[:, 0]
        return torch.stack([(log_ratio.exp() - 1 - log_ratio)[rows.member == k].mean() for k in range(MEMBERS)])


def now(learning_rate):
    return SimpleNamespace(learning_rate=learning_rate)


@pytest.mark.parametrize("max_kl", [1e-1, 1e-2, 1e-4])
def test_improves_every_member_within_its_trust_region(max_kl):
    policy, rows, losses = problem()
    before, start = total(policy, rows, losses), policy.logits.detach().clone()
    update = LineSearch(max_kl=max_kl)
    metrics, _ = update(policy, rows, losses, update.init(policy), now(8.0))
    assert (total(policy, rows, losses) < before).all()
    kl = mean_kl(policy, rows)
    assert (kl <= max_kl).all() and (kl > max_kl / 16).all()  # halving a step quarters a small KL: not timid either
    torch.testing.assert_close(metrics["kl"], kl)
    torch.testing.assert_close(metrics["loss"], before)
    moved = (policy.logits.detach() - start).flatten(1).norm(dim=1)
    torch.testing.assert_close(moved, metrics["step_length"])


def test_first_try_has_the_length_of_the_learning_rate():
    policy, rows, losses = problem()
    start = policy.logits.detach().clone()
    rates = torch.tensor([0.01, 0.02, 0.03])  # one per member, all short enough
    LineSearch(max_kl=1.0)(policy, rows, losses, LineSearch().init(policy), now(rates))
    torch.testing.assert_close((policy.logits.detach() - start).flatten(1).norm(dim=1), rates)


def test_a_member_that_finds_no_step_stays_and_the_others_do_not_notice():
    alone, rows, losses = problem()
    LineSearch()(alone, rows, losses, LineSearch().init(alone), now(1.0))
    policy, rows, losses = problem()
    start = policy.logits.detach().clone()
    strict = torch.tensor([0.01, -1.0, 0.01])  # nothing satisfies the second
    update = LineSearch()
    object.__setattr__(update, "max_kl", strict)  # what a per-member value has become when the loop resolved it
    metrics, state = update(policy, rows, losses, update.init(policy), now(1.0))
    assert metrics["step_length"].gt(0).tolist() == [True, False, True]
    assert torch.equal(policy.logits[1], start[1])
    assert torch.equal(policy.logits[[0, 2]], alone.logits[[0, 2]])
    assert state["active"].all()  # it may try again


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_member_whose_loss_is_not_finite_is_stopped_and_the_others_go_on(broken):
    alone, rows, losses = problem()
    LineSearch()(alone, rows, losses, LineSearch().init(alone), now(1.0))
    policy, rows, losses = problem()
    start = policy.logits.detach().clone()
    losses.credit.advantages[rows.member == 2] = broken
    _, state = LineSearch()(policy, rows, losses, LineSearch().init(policy), now(1.0))
    assert state["active"].tolist() == [True, True, False]
    assert torch.equal(policy.logits[2], start[2])
    assert torch.equal(policy.logits[:2], alone.logits[:2])


def test_no_advantage_no_step():
    policy, rows, losses = problem(scale=0.0)
    start = policy.logits.detach().clone()
    metrics, state = LineSearch()(policy, rows, losses, LineSearch().init(policy), now(1.0))
    assert torch.equal(policy.logits, start) and state["active"].all()
    assert metrics["step_length"].tolist() == [0.0] * MEMBERS


def test_refuses_impossible_options():
    with pytest.raises(ConfigError, match="`shrink` must lie between 0 and 1"):
        LineSearch(shrink=1.0)
