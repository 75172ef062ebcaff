"""Credit by segment: which tokens an objective's advantage reaches, and how much of it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from moalign import recipes
from moalign.credit import AtGradient, CreditPipeline, Routed, group_relative
from moalign.errors import ConfigError
from moalign.losses import PolicyLoss, token_mean
from moalign.parts import bind
from moalign.records import Credit, Outputs, Rows

Make = Callable[..., Rows]
# accuracy 1 0 1 0: deviations ±0.5; clarity 3 3 0 6: deviations 0 0 -3 3
REWARDS = torch.tensor([[[[1.0, 3.0], [0.0, 3.0], [1.0, 0.0], [0.0, 6.0]]]])
SEGMENTS = torch.tensor([[0, 0, 1], [0, 1, 1], [0, 0, 0], [0, 1, 2]])
BOTH = {"r0": "after", "r1": "before"}


def cut(rows: Rows, segments: torch.Tensor = SEGMENTS, names: tuple[str, ...] = ("before", "after", "end")) -> Rows:
    return replace(rows, segments=segments, segment_names=names)


def pipeline(route: dict[str, Any], **changes: Any) -> CreditPipeline:
    return CreditPipeline(**{"collapse": AtGradient(), "place": Routed(route)} | changes)


def run(made: CreditPipeline, rows: Rows, weights: list[float], gain: float = 1.0) -> Credit:
    weighed = torch.tensor(weights).expand(rows.members, 1, 1, -1)
    objectives = len(weights)
    return made(rows, weighed, torch.full((rows.members,), gain), made.init(rows.members, objectives))[0]


def test_by_hand(make_rows: Make) -> None:
    made = pipeline(BOTH, estimate=bind(group_relative, scale=False))
    credit = run(made, cut(make_rows(REWARDS)), [0.2, 0.5], gain=2.0)
    # `after`: 2 · 0.2 · ±0.5 = ±0.2; `before`: 2 · 0.5 · (0, 0, -3, 3); the end is about neither
    expected = [[0.0, 0.0, 0.2], [0.0, -0.2, -0.2], [-3.0, -3.0, -3.0], [3.0, -0.2, 0.0]]
    assert credit.advantages.shape == (4, 3, 1)  # one channel: one backward pass
    assert_close(credit.advantages[..., 0], torch.tensor(expected))
    assert credit.advantages[3, 2, 0] == 0 and not credit.advantages[:2, 0].any()  # exactly


def test_each_objective_is_standardized_by_itself(make_rows: Make) -> None:
    # stds sqrt(4 · 0.25 / 3) = 0.57735 and sqrt(18 / 3) = 2.44949: 0.5 / (0.57735 + 1e-4), 3 / (2.44949 + 1e-4)
    credit = run(pipeline(BOTH), cut(make_rows(REWARDS)), [1.0, 1.0])
    assert_close(credit.advantages[[0, 3], [2, 0], 0], torch.tensor([0.865875, 1.224695]))


def test_an_objective_that_is_not_routed_and_one_of_several_segments(make_rows: Make) -> None:
    made = pipeline({"r1": ("before", "end")}, estimate=bind(group_relative, scale=False))
    credit = run(made, cut(make_rows(REWARDS)), [1.0, 1.0])
    expected = [[0.5, 0.5, 0.5], [-0.5, -0.5, -0.5], [-2.5, -2.5, -2.5], [2.5, -0.5, 2.5]]
    assert_close(credit.advantages[..., 0], torch.tensor(expected))


@pytest.mark.parametrize("route", [{}, {"r0": ("before", "after"), "r2": ("after", "before")}])
def test_everything_to_all_tokens_is_the_weighted_sum_of_advantages(make_rows: Make, route: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    rewards = torch.randn(2, 3, 4, 3, generator=generator)
    rewards = torch.where(torch.rand(rewards.shape, generator=generator) < 0.2, torch.nan, rewards)
    keep = torch.rand(2, 3, 4, generator=generator) < 0.9
    rows = make_rows(rewards, keep=keep)
    rows = cut(rows, torch.randint(2, rows.tokens.shape, generator=generator), ("before", "after"))
    weights = [0.5, 0.3, 0.2]
    summed = run(CreditPipeline(collapse="at_advantage"), rows, weights, gain=1.7).advantages
    assert summed.any()
    assert_close(run(pipeline(route), rows, weights, gain=1.7).advantages, summed)
    first = run(pipeline(route), rows, [1.0, 0.0, 0.0]).advantages  # bit for bit where nothing is rounded in the sum
    assert torch.equal(first, run(CreditPipeline(collapse="at_advantage"), rows, [1.0, 0.0, 0.0]).advantages)


def test_weights_survive_a_rescaler(make_rows: Make) -> None:
    """Each objective is brought to one spread before it is weighed: a weight is not divided out again."""
    made = pipeline(BOTH, rescale="batch_standardize")
    rows = cut(make_rows(REWARDS))
    full, tenth = run(made, rows, [1.0, 1.0]).advantages, run(made, rows, [0.1, 1.0]).advantages
    assert_close(tenth[0, 2], full[0, 2] * 0.1)
    assert_close(tenth[2], full[2])


def test_the_gradient_is_that_of_one_masked_loss_per_objective(make_rows: Make) -> None:
    rows, weights = cut(make_rows(REWARDS)), [0.3, 0.7]
    logprobs = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    credit = run(pipeline(BOTH), rows, weights)
    loss = PolicyLoss()(Outputs(logprobs), rows, credit)[..., 0] * token_mean(rows, credit)
    (found,) = torch.autograd.grad(loss.sum(), logprobs)
    deviation = REWARDS[0, 0] - REWARDS[0, 0].mean(0)
    advantage = deviation / (REWARDS[0, 0].std(0) + 1e-4)
    masks = [SEGMENTS == 1, SEGMENTS == 0]  # of accuracy and of clarity
    expected = sum(w * -advantage[:, k, None] * masks[k] for k, w in enumerate(weights)) / SEGMENTS.numel()
    assert isinstance(expected, torch.Tensor)
    assert_close(found, expected)


def test_a_missing_reward_reaches_no_token(make_rows: Make) -> None:
    rewards = REWARDS.clone()
    rewards[0, 0, 0, 0] = torch.nan
    credit = run(pipeline(BOTH), cut(make_rows(rewards)), [1.0, 1.0])
    assert credit.advantages[0, 2] == 0 and credit.advantages[1, 1] != 0


def test_segments_go_with_their_rows(make_rows: Make) -> None:
    rows = cut(make_rows(REWARDS))
    some = rows.select(torch.tensor([3, 0]))
    assert some.segments is not None and some.segments.tolist() == [[0, 1, 2], [0, 0, 1]]
    assert some.segment_names == ("before", "after", "end")


@pytest.mark.parametrize(
    ("route", "changes", "said"),
    [
        ({}, {}, "`route` is empty"),
        ({"a": "behind"}, {}, "`route` sends `a` to the segment `behind`, which `collect` does not cut"),
        ({"a": "aftr"}, {}, "did you mean after"),
        ({"a": ()}, {}, "`route` sends `a` to the segment ``"),
        ({"a": "after"}, {"collapse": "at_advantage"}, "bind collapse='at-gradient'"),
        ({"a": "after"}, {"collect": "sample"}, "as Segmented would"),
    ],
)
def test_what_does_not_fit_is_said_before_training(route: dict[str, Any], changes: dict[str, Any], said: str) -> None:
    (problem,) = recipes.f_grpo(route=route, **changes).problems()
    assert said in problem
    assert recipes.f_grpo(route={"a": "after", "b": ("before", "after")}).problems() == []


def test_a_collector_around_the_cutting_one_cuts_too() -> None:
    made = recipes.f_grpo(route={"a": "after"})
    assert recipes.gfpo(inner=made.collect, credit=made.credit).problems() == []


@pytest.mark.parametrize("wrong", ["objective", "segment", "uncut", "collapsed"])
def test_what_does_not_fit_is_refused_in_training(make_rows: Make, wrong: str) -> None:
    rows = make_rows(REWARDS) if wrong == "uncut" else cut(make_rows(REWARDS))
    route = {"objective": {"r7": "after"}, "segment": {"r0": "middle"}}.get(wrong, BOTH)
    changes: dict[str, Any] = {"collapse": "at_advantage"} if wrong == "collapsed" else {}
    with pytest.raises(ConfigError, match=r"`route` .* does not fit objectives"):
        run(pipeline(route, **changes), rows, [1.0, 1.0])
