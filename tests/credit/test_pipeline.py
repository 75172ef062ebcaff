from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from moalign.credit import (
    AtAdvantage,
    AtReward,
    CreditPipeline,
    Running,
    batch_standardize,
    group_relative,
    none,
    spread,
    trl_normalize_then_sum,
    trl_sum_then_normalize,
)
from moalign.errors import ConfigError, UnknownNameError
from moalign.parts import bind, put

PIPELINES = {
    "grpo": CreditPipeline(),
    "chebyshev": CreditPipeline(normalize="batch", collapse=AtReward("chebyshev")),
    "mo_grpo": CreditPipeline(collapse="at_advantage"),
    "gdpo": CreditPipeline(collapse="at_advantage", rescale="batch_standardize"),
    "running": CreditPipeline(normalize="running", estimate="batch_centred", rescale="to_std"),
    "gradient": CreditPipeline(estimate="leave_one_out", collapse="at_gradient"),
}
every_pipeline = pytest.mark.parametrize("pipeline", PIPELINES.values(), ids=PIPELINES)


def noisy(seed: int, *shape: int, missing: float = 0.3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randn(*shape, generator=generator)
    return torch.where(torch.rand(*shape, generator=generator) < missing, torch.nan, rewards)


def run(pipeline: CreditPipeline, rows, weights: torch.Tensor | None = None, gain: torch.Tensor | None = None):
    objectives = len(rows.rewards.names)
    weights = torch.ones(rows.members, 1, 1, objectives) / objectives if weights is None else weights
    gain = torch.ones(rows.members) if gain is None else gain
    return pipeline(rows, weights, gain, pipeline.init(rows.members, objectives))


def test_defaults_are_grpo() -> None:
    assert CreditPipeline() == CreditPipeline(bind(none), bind(group_relative), AtReward(), None, bind(spread))
    assert CreditPipeline() == CreditPipeline("none", "group_relative", "at_reward", None, "spread")


def test_names_are_looked_up_and_checked() -> None:
    assert CreditPipeline(normalize="running", collapse="at_advantage").collapse == AtAdvantage()
    assert put(CreditPipeline(), "estimate.eps", 0.5).estimate == bind(group_relative, eps=0.5)
    with pytest.raises(UnknownNameError, match="did you mean group-relative"):
        CreditPipeline(estimate="group_relativ")


def test_spread_gives_every_token_the_rows_advantage(make_rows, golden) -> None:
    credit, _ = run(CreditPipeline(), make_rows(golden))
    assert credit.advantages.shape == (4, 3, 1)
    assert_close(credit.advantages[:, 0], credit.advantages[:, 2])


@every_pipeline
def test_everything_is_finite_whatever_is_missing(make_rows, pipeline) -> None:
    rewards = noisy(0, 2, 4, 5, 3)
    rewards[0, 0] = torch.nan  # a group without any reward
    rewards[0, 1, :, 0] = 0.1  # a constant column
    rewards[1, 0, 1:] = torch.nan  # a group with a single one
    keep = torch.ones(2, 4, 5, dtype=torch.bool)
    keep[1, 1] = False
    rows = make_rows(rewards, keep=keep)
    credit, state = run(pipeline, rows)
    assert credit.advantages.isfinite().all()
    assert all(x.isfinite().all() for x in credit.metrics.values())
    assert (credit.advantages[~rows.keep] == 0).all()
    assert (credit.advantages[~rows.rewards.valid.any(1)] == 0).all()
    assert_close(state["best"][0], torch.where(rewards[0].isnan(), -torch.inf, rewards[0]).amax((0, 1)))


@every_pipeline
def test_a_batch_without_any_reward_has_no_credit(make_rows, pipeline) -> None:
    credit, state = run(pipeline, make_rows(torch.full((1, 2, 3, 2), torch.nan)))
    assert not credit.advantages.any()
    again, _ = pipeline(make_rows(noisy(8, 1, 2, 3, 2)), torch.ones(1, 1, 1, 2), torch.ones(1), state)
    assert again.advantages.isfinite().all() and again.advantages.any()


def test_a_missing_reward_has_no_advantage_in_its_channel(make_rows) -> None:
    """Not even when rescaling moves the mean, as after an estimator that does not centre."""

    def raw(rewards: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return torch.where(mask, rewards, 0)

    rewards = noisy(9, 1, 3, 4, 2) + 10
    credit, _ = run(
        CreditPipeline(estimate=raw, collapse="at_gradient", rescale="batch_standardize"), make_rows(rewards)
    )
    assert ((credit.advantages[:, 0] != 0) == ~rewards.isnan().view(12, 2)).all()


@every_pipeline
def test_rows_that_are_not_kept_change_nothing(make_rows, pipeline) -> None:
    rewards, keep = noisy(1, 2, 3, 5, 2), torch.rand(2, 3, 5, generator=torch.Generator().manual_seed(2)) < 0.7
    other = torch.where(keep[..., None], rewards, 1e4)
    assert_close(
        run(pipeline, make_rows(other, keep=keep))[0].advantages,
        run(pipeline, make_rows(rewards, keep=keep))[0].advantages,
    )


@every_pipeline
def test_a_member_alone_gets_the_same_credit(make_rows, pipeline) -> None:
    rewards = noisy(3, 3, 2, 4, 2)
    together, alone = run(pipeline, make_rows(rewards))[0], run(pipeline, make_rows(rewards[1:2]))[0]
    assert_close(together.advantages[8:16], alone.advantages)


@every_pipeline
def test_order_of_rows_and_objectives_does_not_matter(make_rows, pipeline) -> None:
    rewards, weights = noisy(4, 2, 3, 4, 3), torch.tensor([0.5, 0.3, 0.2]).expand(2, 1, 1, 3)
    rows = make_rows(rewards)
    expected = run(pipeline, rows, weights)[0].advantages
    shuffled = torch.randperm(len(rows), generator=torch.Generator().manual_seed(5))
    assert_close(run(pipeline, rows.select(shuffled), weights)[0].advantages, expected[shuffled])
    turned = run(pipeline, make_rows(rewards.flip(-1)), weights.flip(-1))[0].advantages
    assert_close(turned.flip(-1), expected)


@every_pipeline
def test_gain_is_not_divided_out(make_rows, pipeline) -> None:
    rewards = noisy(6, 2, 3, 4, 2)
    plain = run(pipeline, make_rows(rewards))[0].advantages
    gained = run(pipeline, make_rows(rewards), gain=torch.tensor([1.0, 3.0]))[0].advantages
    assert_close(gained[:12], plain[:12])
    assert_close(gained[12:], 3 * plain[12:])


def test_weights_may_differ_by_completion(make_rows, golden) -> None:
    weights = torch.zeros(1, 1, 4, 3)
    weights[..., :2, 0] = 1.0
    weights[..., 2:, 1] = 1.0
    # rewards 1 0 (first objective) and 1 0 (second): mean .5, deviations ±.5
    pipeline = CreditPipeline(estimate=bind(group_relative, scale=False))
    credit, _ = run(pipeline, make_rows(golden), weights)
    assert_close(credit.advantages[:, 0, 0], torch.tensor([0.5, -0.5, 0.5, -0.5]))


def test_a_small_weight_is_undone_by_summing_first(make_rows) -> None:
    """A group where only the down-weighted reward varies: a tenth of the weight is all the pressure, or a tenth."""
    easy = torch.tensor([1.0, 1.0, 1.0, 0.0])
    rows = make_rows(torch.stack([easy, torch.zeros(4)], -1)[None, None])
    tenth = torch.tensor([0.1, 1.0]).view(1, 1, 1, 2)
    first = [run(CreditPipeline(), rows, w)[0].advantages.abs().max() for w in (tenth, torch.ones_like(tenth))]
    each = [
        run(CreditPipeline(collapse="at_advantage"), rows, w)[0].advantages.abs().max()
        for w in (tenth, torch.ones_like(tenth))
    ]
    assert first[0] / first[1] > 0.99
    assert_close(each[0] / each[1], torch.tensor(0.1))


@pytest.mark.parametrize(
    ("easy", "weight", "first", "each"), [(0.9, 1.0, 1.00, 1.00), (0.9, 0.1, 0.50, 0.11), (0.97, 0.1, 0.18, 0.04)]
)
def test_pressure_on_an_easy_and_a_hard_reward(make_rows, easy, weight, first, each) -> None:
    """Ratio of E[A r_easy] to E[A r_hard], the hard one met in a tenth of the completions, groups of eight.

    Summed first, a tenth of the weight leaves half of the pressure; one by one, it leaves a tenth.
    """
    generator = torch.Generator().manual_seed(0)
    met = torch.rand(1, 20_000, 8, 2, generator=generator) < torch.tensor([easy, 0.1])
    rows, weights = make_rows(met.float()), torch.tensor([weight, 1.0]).view(1, 1, 1, 2)
    for collapse, expected in (("at_reward", first), ("at_advantage", each)):
        credit, _ = run(CreditPipeline(collapse=collapse), rows, weights)
        pressure = (credit.advantages[:, 0] * rows.rewards.values).mean(0)
        assert abs(pressure[0] / pressure[1] - expected) < 0.025


def test_targets_are_the_normalized_rewards(make_rows, golden) -> None:
    rows = make_rows(golden)
    everywhere = rows.rewards.values[:, None].expand(-1, rows.tokens.shape[1], -1)
    assert_close(run(CreditPipeline(), rows)[0].targets, everywhere)


def test_the_metrics_tell_a_silent_group_from_a_cancelled_one(make_rows) -> None:
    trade, still, alive = [[1.0, 0.0], [0.0, 1.0]], [[0.3, 0.3], [0.3, 0.3]], [[1.0, 0.0], [0.0, 0.0]]
    metrics = run(CreditPipeline(), make_rows(torch.tensor([[trade, still, alive, alive]])))[0].metrics
    assert_close(metrics["frac_vector_zero_std"], torch.tensor([0.25]))  # only `still`
    assert_close(metrics["frac_reward_zero_std"], torch.tensor([0.5]))  # `trade` sums to a constant as well
    only_second = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    metrics = run(CreditPipeline(), make_rows(torch.tensor([[trade, still, alive, alive]])), only_second)[0].metrics
    assert_close(metrics["frac_vector_zero_std"], torch.tensor([0.75]))  # `alive` varies in the unweighted reward only


def test_metrics_have_names_and_show_the_rescaling(make_rows) -> None:
    rewards = noisy(7, 2, 6, 8, 2, missing=0.0)
    rewards[:, 1:] = 0.0  # one group in six has signal
    apart = run(CreditPipeline(collapse="at_gradient"), make_rows(rewards))[0].metrics
    assert {"advantages/r0/std", "advantages/r1/mean"} <= apart.keys()
    gdpo = run(PIPELINES["gdpo"], make_rows(rewards))[0].metrics
    assert_close(gdpo["advantages/combined/std"], torch.ones(2), atol=1e-3, rtol=0)
    assert (gdpo["advantages/rescaled_by"] > 2).all()
    assert_close(run(PIPELINES["mo_grpo"], make_rows(rewards))[0].metrics["advantages/rescaled_by"], torch.ones(2))


def test_state_leads_with_member() -> None:
    state = CreditPipeline(normalize=Running()).init(3, 2)
    assert state["best"].shape == (3, 2)
    assert all(x.shape == (3, 2) for x in state["normalize"].values())


def test_rows_without_rewards_get_no_credit(make_rows, golden) -> None:
    pipeline = CreditPipeline()
    state = pipeline.init(1, 3)
    rows = replace(make_rows(golden), rewards=None)
    credit, after = pipeline(rows, torch.ones(1, 1, 1, 3), torch.ones(1), state)
    assert credit.advantages.shape == (4, 3, 1) and not credit.advantages.any()
    assert credit.targets is None and after is state


def test_trl_bindings_are_the_papers() -> None:
    """With nothing missing TRL's two aggregations are GRPO and GDPO; how missing rewards count is TRL's own."""
    eps = bind(group_relative, eps=1e-4)
    assert trl_sum_then_normalize() == CreditPipeline(estimate=eps, collapse=AtReward(missing="zero"))
    gdpo = trl_normalize_then_sum()
    assert (gdpo.estimate, gdpo.collapse, gdpo.rescale) == (eps, AtAdvantage(), bind(batch_standardize, eps=1e-4))
    with pytest.raises(ConfigError, match="`scale_rewards` must be one of group, batch, none, got 'groups'"):
        trl_sum_then_normalize(scale_rewards="groups")
