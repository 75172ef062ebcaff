import pytest
import torch

from moalign.errors import ConfigError
from moalign.optimizers.hypervolume import hypervolume
from moalign.records import Signals
from moalign.weighting import Constant, HypervolumeGradient

NAN = float("nan")
PLAIN = {"warmup": 0, "ramp": 0, "floor": 0.0, "smoothing": 0.0, "memory": 0.0}
UNIT = {"ideal": [1.0, 1.0], "nadir": [0.0, 0.0], "reference": [0.0, 0.0]}


def weights_at(controller, setting, signals, rows, preferences=None):
    start = torch.full_like(signals.means, 1.0) if preferences is None else preferences
    state = controller.observe(controller.init(start, setting), signals)
    return controller.weigh(state, rows)[0][:, 0, 0]


def test_exact_gradient_of_two_points(declare, show, rows):
    # HV of (0.2, 0.8), (0.6, 0.5) above 0 = 0.2 * 0.8 + (0.6 - 0.2) * 0.5; slopes (0.8 - 0.5, 0.2) and (0.5, 0.6 - 0.2)
    weights = weights_at(HypervolumeGradient(step=0.0, **PLAIN), declare(**UNIT), show([[0.2, 0.8], [0.6, 0.5]]), rows)
    torch.testing.assert_close(weights, torch.tensor([[0.3 / 0.5, 0.2 / 0.5], [0.5 / 0.9, 0.4 / 0.9]]))


def test_finite_difference_agrees_with_the_exact_gradient(declare, show, rows):
    signals = show([[0.2, 0.8], [0.6, 0.5], [0.9, 0.1]])
    exact, near = (
        weights_at(HypervolumeGradient(step=step, **PLAIN), declare(**UNIT), signals, rows) for step in (0.0, 1e-4)
    )
    torch.testing.assert_close(near, exact, atol=1e-3, rtol=0)


def test_a_dominated_member_climbs_its_own_rank_or_its_chebyshev(declare, show, rows):
    signals = show([[0.6, 0.8], [0.5, 0.2]])
    preferences = torch.tensor([[0.5, 0.5], [0.9, 0.1]])
    by_rank = weights_at(HypervolumeGradient(step=0.0, **PLAIN), declare(**UNIT), signals, rows, preferences)
    torch.testing.assert_close(by_rank[1], torch.tensor([0.2 / 0.7, 0.5 / 0.7]))  # alone in its rank: slopes (0.2, 0.5)
    chosen = HypervolumeGradient(step=0.0, dominated="chebyshev", **PLAIN)
    by_regret = weights_at(chosen, declare(**UNIT), signals, rows, preferences)
    torch.testing.assert_close(by_regret[1], torch.tensor([1.0, 0.0]))  # regrets 0.9 * 0.5 against 0.1 * 0.8
    torch.testing.assert_close(by_regret[0], by_rank[0])


def test_a_member_below_the_reference_is_led_by_its_regret(declare, show, rows):
    signals = show([[0.6, 0.8], [-0.5, 0.9]])
    weights = weights_at(HypervolumeGradient(**PLAIN), declare(**UNIT), signals, rows)
    torch.testing.assert_close(weights[1], torch.tensor([1.0, 0.0]))


def test_warm_up_standardises_then_the_ramp_leads_over(declare, show, rows):
    controller = HypervolumeGradient(warmup=2, ramp=2, floor=0.0, smoothing=0.0, step=0.0, memory=0.0)
    state = controller.init(torch.tensor([[0.5, 0.5]]), declare(**UNIT))
    seen = []
    for _ in range(4):
        seen.append(controller.weigh(state, rows)[0][0, 0, 0, 0])
        state = controller.observe(state, show([[0.5, 0.25]], [[0.1, 0.4]]))
    # nothing seen: 0.5; then 0.5 / 0.1 against 0.5 / 0.4: 0.8; hypervolume slopes (0.25, 0.5): 1/3, halfway 17/30
    assert [float(w) for w in seen] == pytest.approx([0.5, 0.8, 17 / 30, 1 / 3])


def test_floor_and_smoothing(declare, show, rows):
    controller = HypervolumeGradient(**{**PLAIN, "floor": 0.1, "smoothing": 0.75, "step": 0.0})
    # slopes (0, 1) for the point (1, 0): with the floor (0.05, 0.95); from the preference 0.75 * 0.5 + 0.25 * 0.05
    weights = weights_at(controller, declare(**UNIT), show([[1.0, 0.0]]), rows)
    torch.testing.assert_close(weights, torch.tensor([[0.3875, 0.6125]]))


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("dominated", ["rank", "chebyshev"])
def test_units_do_not_matter(declare, rows, declared, dominated):
    """Weights are for raw rewards, so an objective in units 1000 times smaller gets 1000 times less of them."""
    unit = torch.tensor([1000.0, 1.0])
    generator = torch.Generator().manual_seed(0)
    trace = [(torch.rand(4, 2, generator=generator), torch.rand(4, 2, generator=generator)) for _ in range(8)]
    found = []
    for scale in (torch.ones(2), unit):
        bounds = {"ideal": scale.tolist(), "nadir": [0.0, 0.0]} if declared else {}
        controller = HypervolumeGradient(dominated=dominated, warmup=3, ramp=2)
        state = controller.init(torch.ones(4, 2), declare(**bounds, reference=(0.1 * scale).tolist()))
        for means, stds in trace:
            state = controller.observe(state, Signals(0, 0.0, means * scale, stds * scale))
        effect = controller.weigh(state, rows)[0][:, 0, 0] * scale
        found.append(effect / effect.sum(dim=1, keepdim=True))
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-4)


def test_a_collapsed_std_keeps_the_other_objective_audible(declare, show, rows):
    controller = HypervolumeGradient(memory=0.0)
    state = controller.init(torch.ones(1, 2), declare(**UNIT))
    for std in (0.4, 0.0):
        state = controller.observe(state, show([[0.5, 0.5]], [[0.2, std]]))
    weights = controller.weigh(state, rows)[0][0, 0, 0]
    # std of b counts as 5 % of its maximum: 1 / 0.2 against 1 / 0.02
    torch.testing.assert_close(weights, torch.tensor([5 / 55, 50 / 55]))


@pytest.mark.parametrize("dominated", ["rank", "chebyshev"])
def test_reaches_the_attainable_hypervolume_of_a_bandit(declare, bandit, rows, dominated):
    members = 7
    # n points spread evenly on the chord a + b = 1 cover n / (2 (n + 1)): 7 / 16, the best that 7 points can do
    best = members / (2 * (members + 1))
    share = torch.linspace(0, 1, members)
    preferences = torch.stack([share, 1 - share], dim=1)
    volumes = {}
    for controller in (Constant(), HypervolumeGradient(dominated=dominated)):
        problem = bandit(members)
        state = controller.init(preferences, declare(**UNIT))
        for _ in range(300):
            problem.ascend(controller.weigh(state, rows)[0][:, 0, 0], lr=0.1)
            state = controller.observe(state, Signals(0, 0.0, problem.means, problem.stds))
        volumes[type(controller)] = hypervolume(problem.means.double(), torch.zeros(2, dtype=torch.double)) / best
    assert volumes[HypervolumeGradient] >= 0.97
    assert volumes[Constant] < 0.6  # every member at a corner, but the undecided one: 0.25 of 7 / 16


def test_refuses_a_missing_reference_point(declare):
    with pytest.raises(ConfigError, match="`reference_point` has no value for b"):
        HypervolumeGradient().init(torch.ones(1, 2), declare(reference=[0.0, NAN]))


@pytest.mark.parametrize(
    "options", [{"dominated": "never"}, {"warmup": -1}, {"step": -0.1}, {"floor": 1.0}, {"smoothing": 1.0}]
)
def test_refuses_impossible_options(options):
    with pytest.raises(ConfigError, match=f"`{next(iter(options))}` must"):
        HypervolumeGradient(**options)
