"""Means, standard errors and pairing of an evaluation, against numpy."""

import numpy as np
import pytest
import torch

from moalign.errors import ConfigError
from moalign.evaluation import Evaluation
from moalign.objectives import Objective


def evaluation(seed: int = 0, prompts: int = 50) -> Evaluation:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(3, prompts, 2, generator=generator, dtype=torch.float64)
    valid = torch.rand(3, prompts, 2, generator=generator) < 0.8
    return Evaluation(("quality", "cost"), ("a", "b", "c"), scores, valid)


def test_values_and_errors_are_those_of_the_valid_scores():
    result = evaluation()
    for m in range(3):
        for k in range(2):
            kept = result.scores[m, :, k][result.valid[m, :, k]].numpy()
            assert result.counts[m, k] == len(kept)
            np.testing.assert_allclose(result.values[m, k], kept.mean())
            np.testing.assert_allclose(result.stderr[m, k], kept.std(ddof=1) / np.sqrt(len(kept)))


def test_nothing_valid_is_nan_and_one_valid_has_no_error():
    scores = torch.zeros(1, 3, 2)
    valid = torch.tensor([[[True, False], [False, False], [False, False]]])
    result = Evaluation(("a", "b"), ("m",), scores, valid)
    assert result.counts.tolist() == [[1, 0]]
    assert result.values[0, 0] == 0 and result.values[0, 1].isnan()
    assert result.stderr.isnan().all()


def test_own_turns_costs_back():
    result = evaluation()
    objectives = [Objective("cost", maximize=False), Objective("quality")]
    values, stderr = result.own(objectives)
    torch.testing.assert_close(values, result.values * torch.tensor([1.0, -1.0]))
    torch.testing.assert_close(stderr, result.stderr)
    with pytest.raises(ConfigError, match="lacks quality"):
        result.own(objectives[:1])


def test_difference_is_paired_by_prompt():
    # b is a plus 1 on every prompt: the gap is exactly 1 with no error, though each mean is uncertain
    scores = torch.tensor([[[0.0], [4.0], [8.0]], [[1.0], [5.0], [9.0]]])
    result = Evaluation(("r",), ("a", "b"), scores, torch.ones(2, 3, 1, dtype=torch.bool))
    gap, error = result.difference("b", "a")
    assert gap.tolist() == [1.0] and error.tolist() == [0.0]
    assert (result.stderr > 2).all()


def test_influence_gives_the_error_of_a_sum_of_two_members():
    # the sum of two means over the same prompts is the mean of the sums
    result = evaluation(prompts=40)
    full = Evaluation(result.names, result.members, result.scores, torch.ones_like(result.valid))
    summed = (full.scores[0] + full.scores[1]).numpy()
    error = (full.influence[0] + full.influence[1]).square().sum(dim=0).sqrt()
    np.testing.assert_allclose(error, summed.std(axis=0, ddof=1) / np.sqrt(40))
