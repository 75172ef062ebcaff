import pytest
import torch
from torch.testing import assert_close

from moalign.credit import AtAdvantage, AtGradient, AtReward, CreditPipeline
from moalign.errors import ConfigError
from moalign.optimizers.scalarizers import AugmentedChebyshev, Chebyshev, Linear, SmoothChebyshev

SCALARIZERS = [Linear(), Chebyshev(), AugmentedChebyshev(), SmoothChebyshev()]


def advantages(pipeline: CreditPipeline, rows, weights: list[float], **state) -> torch.Tensor:
    """Return the advantages of the first token of every row."""
    w = torch.tensor(weights).view(1, 1, 1, -1).expand(rows.members, 1, 1, -1)
    credit, _ = pipeline(rows, w, torch.ones(rows.members), pipeline.init(rows.members, len(weights)) | state)
    return credit.advantages[:, 0]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [([1.0, 1.0, 1.0], [0.4999, 0.4999, 0.4999, -1.4997]), ([0.5, 0.3, 0.2], [0.5667, -0.1889, 0.9446, -1.3224])],
)
def test_at_reward_matches_grpo(make_rows, golden, weights, expected) -> None:
    # sums 2 2 2 1: mean 1.75, std 0.5; (2 - 1.75) / (0.5 + 1e-4) = 0.4999
    got = advantages(CreditPipeline(collapse=AtReward()), make_rows(golden), weights)
    assert_close(got[:, 0], torch.tensor(expected), atol=6e-5, rtol=0)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [([1.0, 1.0, 1.0], [0.4999, 0.4999, 0.2321, -1.2319]), ([0.5, 0.3, 0.2], [0.2732, -0.0732, 0.3928, -0.5927])],
)
def test_golden_mo_grpo(make_rows, golden, weights, expected) -> None:
    got = advantages(CreditPipeline(collapse="at_advantage"), make_rows(golden), weights)
    assert_close(got[:, 0], torch.tensor(expected), atol=6e-5, rtol=0)


def test_at_gradient_keeps_objectives_apart(make_rows, golden) -> None:
    apart = advantages(CreditPipeline(collapse=AtGradient()), make_rows(golden), [0.5, 0.3, 0.2])
    assert apart.shape == (4, 3)
    summed = advantages(CreditPipeline(collapse=AtAdvantage()), make_rows(golden), [0.5, 0.3, 0.2])
    assert_close(apart @ torch.tensor([0.5, 0.3, 0.2]), summed[:, 0])


def before(collapse: AtReward, values, valid, weights, ideal):
    shape = (1, 1, len(values), -1)
    return tuple(
        x[0, 0, :, 0]
        for x in collapse.before(
            torch.tensor(values).view(shape),
            torch.tensor(valid).view(shape),
            torch.tensor(weights).view(1, 1, 1, -1),
            torch.tensor(ideal).view(1, 1, 1, -1),
        )
    )


def test_missing_is_left_out_or_counts_as_zero() -> None:
    values, valid = [[2.0, 4.0], [2.0, 4.0], [2.0, 4.0]], [[True, True], [True, False], [False, False]]
    # both: .75 * 2 + .25 * 4 = 2.5; without the second: (.75 + .25) * 2 = 2; without any: invalid
    utility, some = before(AtReward(), values, valid, [0.75, 0.25], [0.0, 0.0])
    assert_close(utility, torch.tensor([2.5, 2.0, 0.0]))
    assert some.tolist() == [True, True, False]
    # .75 * 2 + .25 * 0 = 1.5
    utility, some = before(AtReward(missing="zero"), values, valid, [0.75, 0.25], [0.0, 0.0])
    assert_close(utility, torch.tensor([2.5, 1.5, 0.0]))
    assert some.tolist() == [True, True, False]


def test_without_a_weighted_reward_a_completion_is_invalid() -> None:
    utility, some = before(AtReward(), [[2.0, 4.0]], [[True, False]], [0.0, 1.0], [0.0, 0.0])
    assert utility.tolist() == [0.0] and some.tolist() == [False]


@pytest.mark.parametrize("scalarizer", SCALARIZERS, ids=lambda s: type(s).__name__)
def test_a_missing_objective_is_as_if_it_did_not_exist(scalarizer) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(1, 2, 3, 3, generator=generator)
    weights = torch.tensor([0.5, 0.3, 0.2]).view(1, 1, 1, 3)
    valid = torch.tensor([True, False, True]).expand(1, 2, 3, 3)
    got, _ = AtReward(scalarizer).before(values, valid, weights, torch.ones(1, 1, 1, 3))
    two = scalarizer(values[..., [0, 2]], torch.tensor([5 / 7, 2 / 7]), torch.ones(2))
    assert_close(got[..., 0], two)


def test_only_nonlinear_scalarizers_see_the_ideal(make_rows, golden) -> None:
    rows = [make_rows(golden, ideal=torch.full((3,), z)) for z in (1.0, 9.0)]
    linear, chebyshev = (
        [advantages(CreditPipeline(collapse=AtReward(s)), r, [0.5, 0.3, 0.2]) for r in rows]
        for s in (Linear(), Chebyshev())
    )
    assert_close(linear[0], linear[1])
    assert not torch.allclose(chebyshev[0], chebyshev[1])


def test_an_undeclared_ideal_is_the_best_seen(make_rows, golden) -> None:
    pipeline = CreditPipeline(collapse=AtReward("chebyshev"))
    declared = advantages(pipeline, make_rows(golden, ideal=torch.full((3,), 4.0)), [0.5, 0.3, 0.2])
    remembered = advantages(pipeline, make_rows(golden), [0.5, 0.3, 0.2], best=torch.full((1, 3), 4.0))
    assert_close(remembered, declared)
    _, state = pipeline(make_rows(golden), torch.ones(1, 1, 1, 3), torch.ones(1), pipeline.init(1, 3))
    assert_close(state["best"], torch.ones(1, 3))


@pytest.mark.parametrize("normalize", ["group", "batch", "running"])
def test_the_ideal_is_normalized_with_the_rewards(make_rows, golden, normalize) -> None:
    """Reward and ideal in another unit: normalized Chebyshev must not notice."""
    unit, zero = torch.tensor([1.0, 1000.0, 0.01]), torch.tensor([0.0, -7.0, 3.0])
    pipeline = CreditPipeline(normalize=normalize, collapse=AtReward(Chebyshev()))
    weights = [0.5, 0.3, 0.2]
    plain = advantages(pipeline, make_rows(golden, ideal=torch.full((3,), 1.5)), weights)
    scaled = advantages(pipeline, make_rows(golden * unit + zero, ideal=1.5 * unit + zero), weights)
    assert_close(plain, scaled, atol=2e-4, rtol=0)


def test_an_unknown_missing_rule_is_refused() -> None:
    with pytest.raises(ConfigError, match="`missing` must be one of renormalize, zero, got 'skip'"):
        AtReward(missing="skip")
