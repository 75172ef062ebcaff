from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from moalign.errors import ConfigError, UnknownNameError
from moalign.losses import nll, positives
from moalign.records import Credit, Outputs, Rewards, Rows


@pytest.fixture
def scored(rows: Rows) -> Rows:
    """Return the six rows with two rewards; the last misses the second."""
    values = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.8, 1.2], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    valid = torch.tensor([[True, True]] * 5 + [[True, False]])
    nothing = torch.full((2,), torch.nan)
    return replace(rows, rewards=Rewards(values, valid, ("right", "short"), nothing, nothing))


def credit(weights: list[float]) -> Credit:
    return Credit(torch.zeros(6, 4, 1), weights=torch.tensor([weights] * 6))


def test_by_hand(scored) -> None:
    # halves: rows 0 and 2 reach 1 (4 + 1 tokens), row 3 is not kept; of member 1, none does
    assert_close(positives(scored, credit([0.5, 0.5]))[:, 0], torch.tensor([1 / 5, 0, 1 / 5, 0, 0, 0]))
    # the first alone: rows 0 and 1 (4 + 2 tokens), and row 5 of 4
    assert_close(positives(scored, credit([1.0, 0.0]))[:, 0], torch.tensor([1 / 6, 1 / 6, 0, 0, 0, 1 / 4]))


def test_an_objective_may_say_what_solves(scored) -> None:
    named = positives(scored, credit([0.5, 0.5]), objective="short")
    assert_close(named[:, 0], torch.tensor([1 / 5, 0, 1 / 5, 0, 1 / 2, 0]))
    assert_close(positives(scored, credit([0.5, 0.5]), objective="right", solved=0.5)[2, 0], torch.tensor(1 / 7))


def test_what_is_missing_solves_nothing(scored) -> None:
    low = positives(scored, credit([0.0, 1.0]), solved=-1.0)
    assert low[5].sum() == 0 and low[4].sum() == 1


def test_with_nll_it_is_the_mean_over_the_tokens_of_what_solved(scored, random) -> None:
    logprobs = -random(0, 6, 4).abs()
    weights = positives(scored, credit([0.5, 0.5]))
    got = (nll(Outputs(logprobs), scored, credit([0.5, 0.5]), coefficient=0.1)[..., 0] * weights).sum()
    assert_close(got, -0.1 * (logprobs[0].sum() + logprobs[2, 0]) / 5)


def test_the_likelihood_term_may_differ_between_members(scored, random) -> None:
    logprobs = random(0, 6, 4)
    got = nll(Outputs(logprobs), scored, credit([1.0, 0.0]), coefficient=torch.tensor([2.0, 0.0]))
    assert_close(got[..., 0], -logprobs * torch.tensor([2.0, 2, 2, 2, 0, 0])[:, None])


def test_what_it_needs(scored) -> None:
    with pytest.raises(ConfigError, match="`positives` picks rows by their rewards"):
        positives(replace(scored, rewards=None), credit([0.5, 0.5]))
    with pytest.raises(UnknownNameError, match="did you mean right"):
        positives(scored, credit([0.5, 0.5]), objective="rihgt")
