from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from moalign.credit import SetValue, group_relative, set_values
from moalign.errors import ConfigError
from moalign.parts import bind
from moalign.rollouts.scored_segments import ScoredSegments

NAN = float("nan")


def test_by_hand() -> None:
    # draws (3 1) and (1 3) are weights (.75 .25) and (.25 .75): the best of (1 0), (0 1) is worth .75 to both
    answers = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.6, 0.6], [0.6, 0.6]], [[1.0, 0.0], [1.0, 0.0]]])
    draws = torch.tensor([[3.0, 1.0], [1.0, 3.0]])
    value, some = set_values(answers, torch.ones(3, 2), draws)
    assert_close(value, torch.tensor([0.75, 0.6, 0.5]))  # two specialists, twice a compromise, twice one specialist
    assert some.all()


def test_a_preference_leans_the_draws() -> None:
    answers = torch.tensor([[[1.0, 0.0]]])
    draws = -torch.rand(20_000, 2, generator=torch.Generator().manual_seed(0)).log()
    assert_close(set_values(answers, torch.ones(1, 2), draws)[0], torch.tensor([0.5]), atol=0.01, rtol=0)
    assert set_values(answers, torch.tensor([[0.9, 0.1]]), draws)[0] > 0.7
    assert_close(set_values(answers, torch.tensor([[1.0, 0.0]]), draws)[0], torch.tensor([1.0]))


def test_the_draws_are_uniform_on_the_simplex() -> None:
    """E max(w, 1 - w) of a uniform w is 3/4, and of three uniform weights E max is 11/18."""
    generator = torch.Generator().manual_seed(1)
    for k, expected in ((2, 3 / 4), (3, 11 / 18)):
        draws = -torch.log1p(-torch.rand(40_000, k, generator=generator))
        assert_close(
            set_values(torch.eye(k)[None], torch.ones(1, k), draws)[0], torch.tensor([expected]), atol=0.005, rtol=0
        )


def test_an_answer_that_lacks_a_reward_is_none() -> None:
    answers = torch.tensor([[[9.0, NAN], [0.0, 1.0]], [[9.0, NAN], [NAN, NAN]]])
    value, some = set_values(answers, torch.ones(2, 2), torch.ones(1, 2))
    assert_close(value, torch.tensor([0.5, 0.0]))
    assert some.tolist() == [True, False]
    value, some = set_values(answers, torch.tensor([[1.0, 0.0]]).expand(2, 2), torch.ones(1, 2))
    assert_close(value, torch.tensor([9.0, 9.0]))  # the other objective has no weight


def rows_of(make_rows, answers: torch.Tensor):
    members, prompts, group, _, objectives = answers.shape
    rows = make_rows(torch.zeros(members, prompts, group, objectives))
    return replace(rows, segment_rewards=answers.flatten(0, 2), segments=torch.zeros_like(rows.tokens))


def test_credits_the_whole_set(make_rows) -> None:
    answers = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]], [[NAN, NAN], [NAN, NAN]]])[None, None]
    part = SetValue(bind(group_relative, scale=False), draws=2000)
    rows, w = rows_of(make_rows, answers), torch.ones(1, 1, 1, 2)
    credit, state = part(rows, w, torch.full((1,), 2.0), part.init(1, 2))
    # worth about 3/4 and 1/2, twice +-1/8; the third has no answer
    assert_close(credit.advantages[:, 0, 0], torch.tensor([0.25, -0.25, 0.0]), atol=0.02, rtol=0)
    assert credit.advantages.shape == (3, 3, 1) and (credit.advantages == credit.advantages[:, :1]).all()
    again, _ = part(rows, w, torch.ones(1), part.init(1, 2))
    later, _ = part(rows, w, torch.ones(1), state)
    assert_close(2 * again.advantages, credit.advantages)  # the same step draws the same
    assert not torch.equal(2 * later.advantages, credit.advantages)


def test_members_and_the_order_of_answers_do_not_matter(make_rows) -> None:
    answers = torch.rand(2, 2, 4, 3, 2, generator=torch.Generator().manual_seed(2))
    part, w = SetValue(), torch.tensor([[0.5, 0.5], [0.9, 0.1]])[:, None, None]
    both = part(rows_of(make_rows, answers), w, torch.ones(2), part.init(2, 2))[0].advantages
    alone = part(rows_of(make_rows, answers[1:]), w[1:], torch.ones(1), part.init(1, 2))[0].advantages
    assert_close(both[8:], alone)
    turned = part(rows_of(make_rows, answers.flip(3)), w, torch.ones(2), part.init(2, 2))[0].advantages
    assert_close(turned, both)


def test_what_does_not_fit_is_refused(make_rows) -> None:
    assert SetValue().problems(SimpleNamespace(num_generations=4, collect=ScoredSegments())) == []
    assert len(SetValue().problems(SimpleNamespace(num_generations=1, collect=None))) == 2
    with pytest.raises(ConfigError, match="`draws` must be at least 1, got 0"):
        SetValue(draws=0)
    with pytest.raises(ConfigError, match="collect with ScoredSegments"):
        SetValue()(make_rows(torch.zeros(1, 1, 2, 1)), torch.ones(1, 1, 1, 1), torch.ones(1), SetValue().init(1, 1))
