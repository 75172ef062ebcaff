"""The usual update, against torch's own optimizer and against gradients of hand-made losses."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from torch.testing import assert_close

from moalign.losses import PolicyLoss, constant_bounds
from moalign.optimizers.steps import SGD, AdamW
from moalign.parts import bind
from moalign.policies import Tabular
from moalign.records import Couples, Credit, Need, Rows
from moalign.training.descent import Descent, conflicts, differentiate, products
from moalign.training.losses import TotalLoss, complete

PROMPTS, WORDS, PER_PROMPT = 2, 4, 6
NAN = float("nan")


def policy_of(members: int, micro_rows: int | None = None) -> Tabular:
    start = torch.randn(PROMPTS, 1, WORDS, generator=torch.Generator().manual_seed(0))
    names = [f"m{k}" for k in range(members)]
    return Tabular(members=names, prompts=PROMPTS, tokens=1, vocabulary=WORDS, start=start, micro_rows=micro_rows)


def rows_of(members: int) -> Rows:
    """One token per completion, the same for every member."""
    n = members * PROMPTS * PER_PROMPT
    index = torch.arange(n)
    prompt = index // PER_PROMPT % PROMPTS
    words = torch.randint(WORDS, (PROMPTS * PER_PROMPT, 1), generator=torch.Generator().manual_seed(1))
    ones = torch.ones(n, 1, dtype=torch.bool)
    return Rows(
        members=members,
        member=index // (PROMPTS * PER_PROMPT),
        prompt_id=prompt,
        group=prompt,
        prompt_tokens=prompt[:, None],
        prompt_mask=ones,
        tokens=words.repeat(members, 1),
        completion_mask=ones,
        train_mask=ones,
        keep=ones[:, 0],
        temperature=torch.ones(n),
        index=index,
    )


def some_advantages(rows: Rows, channels: int = 1) -> torch.Tensor:
    per_row = torch.randn(PROMPTS * PER_PROMPT, 1, channels, generator=torch.Generator().manual_seed(2))
    return per_row.repeat(rows.members, 1, 1)


def losses_of(
    policy: Tabular, advantages: torch.Tensor, terms: Any = None, preferences: Any = None, **options: Any
) -> TotalLoss:
    n, _, channels = advantages.shape
    members = len(policy.members)
    return TotalLoss(
        policy=policy,
        terms=terms or {"policy": PolicyLoss()},
        credit=Credit(advantages),
        token_weights=torch.full((n, 1), 1 / (PROMPTS * PER_PROMPT)),
        preferences=torch.ones(members, channels) if preferences is None else preferences,
        needs=frozenset({Need.LOGPROBS}),
        couples=Couples.ROWS,
        **options,
    )


def now(learning_rate: Any = 0.1) -> SimpleNamespace:
    return SimpleNamespace(learning_rate=learning_rate)


def logits(policy: Tabular) -> torch.Tensor:
    return policy.tensors["logits"].detach().clone()


def test_matches_torch_adamw_on_one_member() -> None:
    policy, rows = policy_of(1, micro_rows=5), rows_of(1)
    advantages = some_advantages(rows) * 3  # a gradient longer than the 0.1 it is clipped to
    theirs = torch.nn.Parameter(logits(policy)[0])
    rule = AdamW(beta1=0.8, beta2=0.9, eps=1e-6, weight_decay=0.1)
    torchs = torch.optim.AdamW([theirs], lr=0.1, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.1)
    update = Descent(rule=rule, max_grad_norm=0.1)
    state = update.init(policy)
    for _ in range(5):
        metrics, state = update(policy, rows, losses_of(policy, advantages), state, now())
        torchs.zero_grad()
        # on fresh samples the ratio is 1 and the gradient is that of -mean(A log p)
        chosen = theirs.log_softmax(dim=-1)[rows.prompt_id, 0].gather(1, rows.tokens)
        loss = -(advantages[:, :, 0] * chosen).mean()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_([theirs], 0.1)
        torchs.step()
        assert float(norm) > 0.2
        assert_close(metrics["grad_norm"][0], norm)
        assert_close(logits(policy)[0], theirs.detach(), atol=1e-6, rtol=1e-5)


def test_zero_norm_does_not_clip() -> None:
    free, rows = policy_of(1), rows_of(1)
    start = logits(free)
    Descent(rule=SGD(), max_grad_norm=0.0)(free, rows, losses_of(free, some_advantages(rows)), _init(free), now(1.0))
    gradient = differentiate(fresh := policy_of(1), rows, losses_of(fresh, some_advantages(rows)))[1][0]["logits"]
    assert_close(start - logits(free), gradient)


def _init(policy: Tabular, rule: Any = None) -> dict[str, Any]:
    return Descent(rule=rule or SGD()).init(policy)


def test_a_member_that_is_not_finite_is_stopped_and_the_others_do_not_notice() -> None:
    for broken in (NAN, float("inf")):
        alone, policy, rows = policy_of(2), policy_of(3), rows_of(3)
        good = rows_of(2)
        advantages = some_advantages(rows)
        advantages[rows.member == 1] = broken
        update = Descent()
        other, state = update.init(alone), update.init(policy)
        start = logits(policy)
        for _ in range(3):
            _, other = update(alone, good, losses_of(alone, some_advantages(good)), other, now())
            _, state = update(policy, rows, losses_of(policy, advantages), state, now())
        assert state["active"].tolist() == [True, False, True]
        assert torch.equal(logits(policy)[1], start[1])
        assert torch.equal(logits(policy)[[0, 2]], logits(alone))
        # it stays stopped when its loss is finite again, and its momentum was not touched
        _, state = update(policy, rows, losses_of(policy, some_advantages(rows)), state, now())
        assert torch.equal(logits(policy)[1], start[1])
        assert state["rule"]["logits"]["step"].tolist() == [4, 0, 4]


def test_an_exploding_member_does_not_shrink_the_others() -> None:
    calm, policy, rows = policy_of(2), policy_of(2), rows_of(2)
    advantages = some_advantages(rows)
    Descent(rule=SGD())(calm, rows, losses_of(calm, advantages), _init(calm), now())
    loud = torch.where(rows.member[:, None, None] == 1, 1e6 * advantages, advantages)
    metrics, _ = Descent(rule=SGD())(policy, rows, losses_of(policy, loud), _init(policy), now())
    assert float(metrics["grad_norm"][1]) > 1e4 * float(metrics["grad_norm"][0])
    assert torch.equal(logits(policy)[0], logits(calm)[0])
    # and the loud one moved by lr times the norm it is clipped to
    assert_close(torch.linalg.vector_norm(logits(policy)[1] - logits(policy_of(1))[0]), torch.tensor(0.1))


def test_linear_mix_is_the_gradient_of_the_weighted_loss() -> None:
    policy, rows = policy_of(2, micro_rows=5), rows_of(2)
    advantages = some_advantages(rows, channels=2)
    preferences = torch.tensor([[0.3, 0.7], [1.0, 0.0]])
    losses = losses_of(policy, advantages, preferences=preferences)
    _, mixed = Descent()._mixed(differentiate(policy, rows, losses)[1], preferences)
    weighted = (advantages * preferences[rows.member][:, None, :]).sum(dim=2, keepdim=True)
    _, (single,) = differentiate(policy, rows, losses_of(policy, weighted))
    assert_close(mixed["logits"], single["logits"])


def test_min_norm_mix_is_the_closed_form_of_two_gradients() -> None:
    policy, rows = policy_of(2), rows_of(2)
    losses = losses_of(policy, some_advantages(rows, channels=2), preferences=torch.full((2, 2), 0.5))
    gradients = differentiate(policy, rows, losses)[1]
    _, mixed = Descent(mix="min-norm")._mixed(gradients, losses.preferences)
    for k in range(2):
        g, h = (channel["logits"][k] for channel in gradients)
        share = ((h - g) * h).sum() / (h - g).square().sum()  # Sener and Koltun 2018, between the two corners
        assert 0 < share < 1
        assert_close(mixed["logits"][k], share * g + (1 - share) * h)


def test_a_penalty_without_channels_counts_once_under_a_linear_mix() -> None:
    policy, rows = policy_of(1), rows_of(1)
    advantages, half = some_advantages(rows, channels=2), torch.full((1, 2), 0.5)

    def penalty(outputs: Any, part: Rows, credit: Credit) -> torch.Tensor:
        return outputs.logprobs.square()[..., None]

    terms = {"policy": PolicyLoss(), "penalty": penalty}
    both = differentiate(policy, rows, losses_of(policy, advantages, terms, half))[1]
    mixed = Descent()._mixed(both, half)[1]["logits"]
    mean = advantages.mean(dim=2, keepdim=True)
    assert_close(mixed, differentiate(policy, rows, losses_of(policy, mean, terms))[1][0]["logits"])


def test_conflicts_are_cosines() -> None:
    g = torch.tensor([[3.0, 0.0], [0.0, 2.0], [-1.0, -1.0]])
    found = conflicts((g @ g.T)[None])
    assert {name: round(float(value), 4) for name, value in found.items()} == {
        "conflict/0__1": 0.0,
        "conflict/0__2": -0.7071,
        "conflict/1__2": -0.7071,
    }
    assert conflicts(None) == {}
    policy, rows = policy_of(1), rows_of(1)
    opposed = some_advantages(rows) * torch.tensor([1.0, -2.0])
    metrics, _ = Descent()(policy, rows, losses_of(policy, opposed), Descent().init(policy), now())
    assert_close(metrics["conflict/0__1"], torch.tensor([-1.0]))


def test_inner_products_of_the_channels_are_told() -> None:
    g = torch.tensor([[3.0, 0.0], [1.0, 2.0]])
    found = products((g @ g.T)[None])
    assert {name: float(value) for name, value in found.items()} == {
        "gram/0__0": 9.0,
        "gram/0__1": 3.0,
        "gram/1__1": 5.0,
    }
    assert products(None) == {}
    policy, rows = policy_of(1), rows_of(1)
    opposed = some_advantages(rows) * torch.tensor([1.0, -2.0])
    metrics, _ = Descent()(policy, rows, losses_of(policy, opposed), Descent().init(policy), now())
    assert_close(metrics["gram/0__1"], -2 * metrics["gram/0__0"])
    assert_close(metrics["gram/1__1"], 4 * metrics["gram/0__0"])


def test_several_passes_look_back_at_the_old_policy() -> None:
    def after(passes: int, epsilon: float) -> tuple[torch.Tensor, Tabular]:
        policy, rows = policy_of(1), rows_of(1)
        update = Descent(rule=SGD(), passes=passes, max_grad_norm=0.0)
        rows = complete(policy, rows, needs=frozenset(), couples=Couples.ROWS, passes=update.passes)
        assert (rows.old_logprobs is None) == (passes == 1)
        loss = PolicyLoss(bounds=bind(constant_bounds, epsilon=epsilon))
        update(policy, rows, losses_of(policy, some_advantages(rows), {"policy": loss}), _init(policy), now(2.0))
        return logits(policy), policy

    once, wide, tight = after(1, 0.2)[0], after(4, 1e6)[0], after(4, 1e-3)[0]
    start = logits(policy_of(1))
    # a step of rate 2 leaves tight bounds at once where it helps; wide ones let all four passes go on
    assert (tight - start).norm() < (wide - start).norm()
    assert (wide - start).norm() > 2 * (once - start).norm()
    ratio = (tight.log_softmax(dim=-1) - start.log_softmax(dim=-1)).exp()
    assert float((ratio - 1).abs().max()) > 1e-3  # the first pass itself is not bounded, only what follows


def test_tight_bounds_stop_what_is_past_them() -> None:
    policy, rows = policy_of(1), rows_of(1)
    advantages = torch.ones(len(rows), 1, 1)
    rows = replace(rows, old_logprobs=policy.forward(rows, frozenset()).logprobs.detach() - 0.5)  # ratio e^0.5 > 1.2
    start = logits(policy)
    metrics, _ = Descent(rule=SGD(), passes=2)(policy, rows, losses_of(policy, advantages), _init(policy), now())
    assert torch.equal(logits(policy), start) and metrics["grad_norm"].tolist() == [0.0]


def test_rates_and_norms_may_differ_between_members() -> None:
    policy, rows = policy_of(3), rows_of(3)
    start = logits(policy)
    update = Descent(rule=SGD(), max_grad_norm=torch.tensor([0.01, 0.02, 0.01]))
    rates = torch.tensor([1.0, 1.0, 3.0])
    update(policy, rows, losses_of(policy, some_advantages(rows)), update.init(policy), now(rates))
    moved = torch.linalg.vector_norm((logits(policy) - start).flatten(1), dim=1)
    assert_close(moved, torch.tensor([0.01, 0.02, 0.03]), atol=1e-5, rtol=1e-3)  # clipping divides by norm + 1e-6


def test_a_batch_without_kept_rows_moves_nobody() -> None:
    policy, rows = policy_of(2), rows_of(2)
    start = logits(policy)
    empty = replace(rows, keep=torch.zeros(len(rows), dtype=torch.bool))
    for channels in (1, 2):
        losses = losses_of(policy, some_advantages(rows, channels))
        metrics, state = Descent()(policy, empty, losses, Descent().init(policy), now())
        assert torch.equal(logits(policy), start) and state["active"].all()
        assert metrics["loss"].tolist() == [0.0, 0.0]
