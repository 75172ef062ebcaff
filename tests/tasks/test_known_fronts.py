"""Fronts that are known: against integrals, moocore, samples and random policies."""

import doctest
import math

import pytest
import torch

from moalign.errors import ConfigError
from moalign.optimizers.dominance import non_dominated
from moalign.optimizers.hypervolume import hypervolume
from moalign.policies import Tabular
from moalign.records import Requests, Stream
from moalign.tasks import known_fronts as module
from moalign.tasks.known_fronts import KnownFront, known_fronts

TASKS = known_fronts()
MEANS = [task for task in TASKS.values() if task.criterion == "means"]
SAMPLES = [task for task in TASKS.values() if task.criterion == "samples"]


def odds_of(task: KnownFront, members: int, seed: int = 0, *, sharp: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = sharp * torch.randn(members, task.words, len(task.arms), generator=generator, dtype=torch.float64)
    return logits.softmax(dim=2)


def test_doctests() -> None:
    assert doctest.testmod(module).failed == 0


def test_volumes_of_two_objectives_are_integrals() -> None:
    assert TASKS["linear-2"].hypervolume == pytest.approx(1 / 2)  # under y = 1 - x
    assert TASKS["concave-2"].hypervolume == pytest.approx(1 / 6)  # under y = (1 - sqrt x)^2: 1 - 4/3 + 1/2
    # under the chords of a quarter circle cut into 8: eight triangles of sides 1, 1 and the angle 90 / 8 degrees
    assert TASKS["convex"].hypervolume == pytest.approx(8 / 2 * math.sin(math.pi / 16), rel=1e-3)


@pytest.mark.parametrize("task", [t for t in MEANS if t.objectives == 2], ids=lambda t: t.name)
def test_many_points_of_the_front_fill_the_volume(task: KnownFront) -> None:
    points = task.points(3000)
    assert bool(non_dominated(points).float().mean() > 0.99)
    assert hypervolume(points, torch.zeros(2).double()) == pytest.approx(task.hypervolume, rel=3e-3)


@pytest.mark.parametrize("task", MEANS, ids=lambda t: t.name)
def test_no_policy_is_beyond_the_front(task: KnownFront) -> None:
    means = torch.cat([task.means(odds_of(task, 500, seed, sharp=sharp)) for seed, sharp in enumerate((0.3, 1, 3, 9))])
    if task.name == "convex":
        assert float(means.norm(dim=1).max()) <= 1 + 1e-9
    else:
        assert float((means ** (1 / task.words)).sum(dim=1).max()) <= 1 + 1e-9


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda t: t.name)
def test_means_are_those_of_samples(task: KnownFront) -> None:
    start = torch.randn(1, task.words, len(task.arms), generator=torch.Generator().manual_seed(1))
    policy = Tabular(members=["a"], prompts=1, tokens=task.words, vocabulary=len(task.arms), start=start)
    requests = Requests(
        member=torch.zeros(1, dtype=torch.long),
        prompt_tokens=torch.zeros(1, 1, dtype=torch.long),
        prompt_mask=torch.ones(1, 1, dtype=torch.bool),
        n=20_000,
        max_new_tokens=task.words,
        temperature=torch.ones(1),
    )
    rewards = task.rewards(policy.sample(requests, stream=Stream(1, 0, "eval")).tokens)
    error = rewards.std(dim=0) / 20_000**0.5
    found = task.means(policy.tensors["logits"].detach().softmax(dim=3)[:, 0])[0]
    assert bool(((rewards.mean(dim=0) - found).abs() < 4 * error + 1e-9).all())


@pytest.mark.parametrize("task", SAMPLES, ids=lambda t: t.name)
def test_a_member_on_each_arm_has_the_whole_value_and_mixtures_have_less(task: KnownFront) -> None:
    arms = torch.eye(len(task.arms))[:, None, :]
    assert task.value(arms) == task.best(len(task.arms)) == pytest.approx(task.hypervolume, rel=0.03)  # 2,000 rays
    assert task.value(odds_of(task, 8)) < task.value(arms)
    with pytest.raises(ConfigError, match="and the front has"):
        task.best(1)


def test_the_best_few_points_of_a_line_are_evenly_spread() -> None:
    assert TASKS["linear-2"].best(3, starts=1, steps=150) == pytest.approx(3 / 8, abs=1e-3)  # K / (2 (K + 1))


def test_the_value_of_means_is_their_hypervolume() -> None:
    task = TASKS["concave-2"]
    odds = torch.tensor([[[0.5, 0.5]] * 2, [[1.0, 0.0]] * 2])
    assert task.means(odds).tolist() == [[0.25, 0.25], [1.0, 0.0]]
    assert task.value(odds) == pytest.approx(0.0625)
    assert task.reached(odds).tolist() == task.means(odds).tolist()
