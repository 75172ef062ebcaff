from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from moalign.credit import CreditPipeline, Steps, delta_steps, group_relative
from moalign.errors import ConfigError
from moalign.parts import bind
from moalign.records import Rows
from moalign.rollouts.collect import Sample
from moalign.rollouts.scored_segments import ScoredSegments

NAN = float("nan")
CENTRED = bind(group_relative, scale=False)


@pytest.fixture
def stepped(make_rows):
    """Return a maker of rows of three tokens, each a segment, from ``[member prompt group segment objective]``."""

    def make(rewards: torch.Tensor, whole: torch.Tensor | None = None) -> Rows:
        flat = rewards.flatten(0, 2)
        rows = make_rows(torch.zeros(rewards[..., 0, :].shape) if whole is None else whole)
        segments = torch.arange(3).expand(len(rows), 3)
        return replace(rows, segments=segments, segment_names=("a", "b", "c"), segment_rewards=flat)

    return make


def run(credit: Steps, rows: Rows, weights: list[float], gain: float = 1.0) -> torch.Tensor:
    w = torch.tensor(weights).view(1, 1, 1, -1).expand(rows.members, 1, 1, -1)
    made, state = credit(rows, w, torch.full((rows.members,), gain), credit.init(rows.members, len(weights)))
    assert state == {} and made.advantages.shape == (len(rows), 3, 1)
    return made.advantages[..., 0]


def test_by_hand(stepped) -> None:
    # two completions of three steps, rewards 1 0 1 and 0 0 1: mean 1/2, so +-1/2; its own and the later ones
    rewards = torch.tensor([[[[[1.0], [0.0], [1.0]], [[0.0], [0.0], [1.0]]]]])
    to_go = torch.tensor([[0.5, 0.0, 0.5], [-0.5, 0.0, 0.5]])
    assert_close(run(Steps(CENTRED), stepped(rewards), [1.0]), to_go)
    own = torch.tensor([[0.5, -0.5, 0.5], [-0.5, -0.5, 0.5]])
    assert_close(run(Steps(CENTRED, to_go=False), stepped(rewards), [1.0]), own)
    assert_close(run(Steps(CENTRED, to_go=False), stepped(rewards), [0.5], gain=4.0), 2 * own)


def test_is_grpo_with_process_supervision(stepped) -> None:
    """Normalized by mean and std of all the group's step rewards, then summed from the step on; by plain loops."""
    rewards = torch.rand(1, 2, 4, 3, 2, generator=torch.Generator().manual_seed(0))
    got = run(Steps(), stepped(rewards), [0.7, 0.3]).view(2, 4, 3)
    for p in range(2):
        for i in range(4):
            for s in range(3):
                expected = sum(
                    w
                    * (rewards[0, p, i, later, k] - rewards[0, p, ..., k].mean())
                    / (rewards[0, p, ..., k].std() + 1e-4)
                    for k, w in enumerate((0.7, 0.3))
                    for later in range(s, 3)
                )
                assert_close(got[p, i, s], expected)


def test_a_missing_step_adds_nothing_and_is_in_no_mean(stepped) -> None:
    # 1 and 0 are there, mean 1/2; the third completion step has none
    rewards = torch.tensor([[[[[1.0], [NAN], [NAN]], [[0.0], [NAN], [NAN]]]]])
    assert_close(run(Steps(CENTRED), stepped(rewards), [1.0]), torch.tensor([[0.5, 0, 0], [-0.5, 0, 0]]))
    nothing = run(Steps(), stepped(torch.full((1, 1, 2, 3, 1), NAN)), [1.0])
    assert not nothing.any()


def test_one_segment_is_the_pipelines_credit(stepped) -> None:
    """All of a completion in one segment: what `at-advantage` makes of the same rewards."""
    rewards = torch.rand(2, 3, 4, 2, generator=torch.Generator().manual_seed(1))
    steps = torch.full((2, 3, 4, 3, 2), NAN)
    steps[..., 0, :] = rewards
    rows = stepped(steps, rewards)
    rows = replace(rows, segments=torch.zeros_like(rows.tokens))
    pipeline, w = CreditPipeline(collapse="at_advantage"), torch.tensor([0.6, 0.4]).expand(2, 1, 1, 2)
    expected = pipeline(rows, w, torch.ones(2), pipeline.init(2, 2))[0].advantages[..., 0]
    assert_close(run(Steps(), rows, [0.6, 0.4]), expected)


def test_other_objectives_are_compared_by_whole_completions(stepped) -> None:
    whole = torch.tensor([[[[9.0, 1.0], [9.0, 0.0]]]])  # of r0 only the steps count, of r1 only the whole
    steps = torch.tensor([[[[[1.0, 5.0], [0.0, 5.0], [1.0, 7.0]], [[0.0, 5.0], [0.0, 5.0], [1.0, 5.0]]]]])
    got = run(Steps(CENTRED, by_step=("r0",)), stepped(steps, whole), [1.0, 10.0])
    assert_close(got, torch.tensor([[0.5, 0.0, 0.5], [-0.5, 0.0, 0.5]]) + torch.tensor([[5.0], [-5.0]]))
    with pytest.raises(ConfigError, match="`by_step` names `r9`"):
        run(Steps(by_step=("r9",)), stepped(steps, whole), [1.0, 1.0])


def test_rewards_are_shaped_before_they_are_compared(stepped) -> None:
    rewards = torch.rand(1, 2, 3, 3, 1, generator=torch.Generator().manual_seed(2))
    rows = stepped(rewards)
    shaped = delta_steps(rewards.flatten(0, 2), torch.ones(6, 3, 1, dtype=torch.bool))
    expected = run(Steps(), replace(rows, segment_rewards=shaped), [1.0])
    assert_close(run(Steps(shape="delta-steps"), rows, [1.0]), expected)


def test_rows_not_kept_and_other_members_do_not_matter(stepped) -> None:
    rewards = torch.rand(2, 2, 4, 3, 2, generator=torch.Generator().manual_seed(3))
    rows = stepped(rewards)
    keep = torch.ones(16, dtype=torch.bool)
    keep[[1, 6]] = False
    other = rewards.clone()
    other.view(16, 3, 2)[~keep] = 99.0
    got = run(Steps(), replace(stepped(other), keep=keep), [0.5, 0.5])
    assert_close(got, run(Steps(), replace(rows, keep=keep), [0.5, 0.5]))
    assert_close(run(Steps(), rows, [0.5, 0.5])[8:], run(Steps(), stepped(rewards[1:]), [0.5, 0.5]))


def test_a_recipe_that_does_not_score_segments_is_refused(stepped) -> None:
    assert Steps().problems(SimpleNamespace(collect=ScoredSegments())) == []
    assert "see ScoredSegments" in Steps().problems(SimpleNamespace(collect=Sample()))[0]
    rows = replace(stepped(torch.zeros(1, 1, 2, 3, 1)), segment_rewards=None)
    with pytest.raises(ConfigError, match="collect with ScoredSegments"):
        run(Steps(), rows, [1.0])
