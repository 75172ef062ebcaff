r"""Tasks whose best front is known in closed form: no model, a tabular policy trains on one in seconds.

A completion is a few words, and words have no text. What is best depends on the criterion, and each task states its
own: ``means`` are the policies' expected rewards, u(E[r]), of which the best are

* the convex hull of the arms' rewards, when one word is drawn and any distribution over words may be learned;
* truly concave, :math:`\sum_k y_k^{1/n} = 1`, when a reward is paid only if all of :math:`n` words, drawn one without
  knowledge of the others, are the same: of independent draws none covers the hull;

``samples`` are single completions' rewards, E[u(r)]: the non-dominated arms, whatever their shape, since a policy that
always draws one of them is the best for some utility, and no mixture of two is better for any.

>>> tasks = known_fronts()
>>> tasks["concave-2"].hypervolume, round(tasks["concave-3"].hypervolume, 4)  # 1 / 6, 2^3 / 6!
(0.16666666666666666, 0.0111)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moalign.errors import ConfigError
from moalign.optimizers.dominance import non_dominated
from moalign.optimizers.hypervolume import gradient, hypervolume
from moalign.optimizers.simplex import das_dennis
from moalign.records import Environment, Examples, Metrics, Prompts, Rewards, Rows, Samples, Stream

CRITERIA = ("means", "samples")
DIRECTIONS = 2000


@dataclass(frozen=True)
class KnownFront:
    """Words and what they are worth: ``arms[word]`` are the rewards of a completion whose words are all that one."""

    name: str
    what: str
    criterion: str
    arms: tuple[tuple[float, ...], ...]
    words: int = 1  # drawn for a completion; all must be the same to be worth anything

    @property
    def objectives(self) -> int:
        return len(self.arms[0])

    @cached_property
    def table(self) -> Float[Tensor, "word objective"]:
        return torch.tensor(self.arms, dtype=torch.float64)

    def rewards(self, tokens: Int[Tensor, "row token"]) -> Float[Tensor, "row objective"]:
        """Return what completions are worth.

        >>> known_fronts()["concave-2"].rewards(torch.tensor([[0, 0], [0, 1]])).tolist()
        [[1.0, 0.0], [0.0, 0.0]]
        """
        same = (tokens == tokens[:, :1]).all(dim=1, keepdim=True)
        return torch.where(same, self.table[tokens[:, 0]], 0.0)

    def means(self, odds: Float[Tensor, "member token word"]) -> Float[Tensor, "member objective"]:
        """Return the expected rewards of policies that draw token t from ``odds[:, t]``, exactly."""
        return odds.double().prod(dim=1) @ self.table

    def value(self, odds: Float[Tensor, "member token word"]) -> float:
        r"""Return the hypervolume above 0 that policies reach by the task's criterion, exactly.

        Of means it is that of the points. Of samples it is :math:`c_m E_d \max_k E_{r \sim \pi_k}[s_d(r)^m]` with
        :math:`s_d(r) = \min_i r_i / d_i` over directions :math:`d`: the hypervolume as a mean of utilities (Golovin
        and Zhang 2020, arXiv:2006.04655), each given to the policy that serves it best. For policies that always draw
        one arm the two are the same.
        """
        if self.criterion == "means":
            return hypervolume(self.means(odds), torch.zeros(self.objectives).double())
        return self._served(odds.double().prod(dim=1))

    def _served(self, odds: Float[Tensor, "member word"]) -> float:
        worth = _lengths(self.table) ** self.objectives
        return float((worth @ odds.T).amax(dim=1).mean()) * _constant(self.objectives)

    def reached(self, odds: Float[Tensor, "member token word"]) -> Float[Tensor, "member objective"]:
        """Return where policies stand: their means, or what each draws most often."""
        if self.criterion == "means":
            return self.means(odds)
        return self.table[odds.prod(dim=1).argmax(dim=1)]

    @property
    def hypervolume(self) -> float:
        """The volume above 0 that the whole front dominates, of any number of points."""
        if self.criterion == "samples":
            return hypervolume(self.table, torch.zeros(self.objectives).double())
        if self.words > 1 or self._corners:
            n, m = self.words, self.objectives
            return math.factorial(n) ** m / math.factorial(n * m)
        return _area(self.points(2000))

    @property
    def _corners(self) -> bool:
        return bool(torch.equal(self.table, torch.eye(self.objectives).double()))

    def points(self, count: int) -> Float[Tensor, "point objective"]:
        """Return points of the front, at least `count` where it is not a few arms."""
        if self.criterion == "samples":
            return self.table[non_dominated(self.table)]
        if self._corners:
            divisions = next(d for d in range(1, count + 1) if math.comb(d + self.objectives - 1, d) >= count)
            return das_dennis(self.objectives, divisions).double() ** self.words
        hull = self.table[_upper_hull(self.table)]
        share = torch.linspace(0, 1, max(count // max(len(hull) - 1, 1), 2)).double()[:, None]
        return torch.cat([a + share * (b - a) for a, b in pairwise(hull)])

    def best(self, members: int, *, starts: int = 3, steps: int = 300) -> float:
        """Return the largest `value` that so many members can have.

        For means it is the best found by ascending the hypervolume from random `starts`; for samples there must be a
        member for each arm of the front, else `ConfigError`.
        """
        if self.criterion == "means":
            return max(_ascended(self, members, seed, steps) for seed in range(starts))
        arms = len(self.points(1))
        if members < arms:
            raise ConfigError(f"`members` is {members}, and the front has {arms} arms; one member for each is known.")
        return self._served(torch.eye(len(self.arms)).double())

    def environment(self, *, seed: int = 0) -> "KnownFrontEnvironment":
        """Return what a tabular policy of one prompt trains in."""
        return KnownFrontEnvironment(self, seed=seed)


def known_fronts() -> dict[str, KnownFront]:
    """Return all tasks by name: fronts of means with two to six objectives, fronts of samples of four shapes."""
    every = []
    for m in range(2, 7):
        corners = tuple(tuple(float(i == k) for i in range(m)) for k in range(m))
        every += [
            KnownFront(f"linear-{m}", "one of the rewards is 1: means fill the simplex", "means", corners),
            KnownFront(f"concave-{m}", "two independent words must agree", "means", corners, words=2),
        ]
    turn = [math.pi / 2 * k / 8 for k in range(9)]
    arc = tuple((math.sin(t), math.cos(t)) for t in turn)
    bowl = tuple((1 - math.cos(t), 1 - math.sin(t)) for t in turn)
    tilted = ((0.1, 0.9), (0.2, 0.85), (0.25, 0.8), (0.7, 0.35), (0.75, 0.3), (0.9, 0.1))
    line = ((0.0, 1.0, 0.0), (0.25, 0.75, 0.25), (0.5, 0.5, 0.5), (0.75, 0.25, 0.75), (1.0, 0.0, 1.0))
    every += [
        KnownFront("convex", "arms on a quarter circle: means fill their hull", "means", arc),
        KnownFront("samples-convex", "arms on a quarter circle", "samples", arc[1:-1]),
        KnownFront("samples-concave", "arms on a circle that bends inwards", "samples", bowl[1:-1]),
        KnownFront("samples-disconnected", "two clusters of arms", "samples", tilted),
        KnownFront("samples-degenerate", "three objectives, two of them the same", "samples", line[1:-1]),
    ]
    return {task.name: task for task in every}


@dataclass(frozen=True)
class KnownFrontEnvironment(Environment):
    """The one prompt of a known front, and its rewards."""

    task: KnownFront
    step: int = 0
    seed: int = 0

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"r{k}" for k in range(self.task.objectives))

    def at(self, step: int) -> "KnownFrontEnvironment":
        return replace(self, step=step)

    def stream(self, purpose: str, round: int = 0) -> Stream:
        return Stream(self.seed, self.step, purpose, round)

    def prompts(self, count: int, round: int = 0) -> Prompts:
        number = torch.zeros(count, dtype=torch.long)
        return Prompts(number, number[:, None], torch.ones(count, 1, dtype=torch.bool), {"prompt": ["0"] * count})

    def examples(self, count: int, columns: Sequence[str]) -> Examples:
        raise ConfigError("a known front has no data; train on it with a recipe that samples.")

    def encode(self, completions: Sequence[str]) -> Samples:
        raise ConfigError("words of a known front have no text.")

    def decode(self, tokens: list[list[int]]) -> list[str]:
        return [" ".join(map(str, line)) for line in tokens]

    def score(self, rows: Rows) -> Rows:
        values = self.task.rewards(rows.tokens).float()
        ones = torch.ones(self.task.objectives)
        rewards = Rewards(values, torch.ones(values.shape, dtype=torch.bool), self.names, ones, 0 * ones)
        return replace(rows, rewards=rewards, columns={**rows.columns, "completion": self.decode(rows.tokens.tolist())})

    def drain(self) -> Metrics:
        return {}


# --- what is best -----------------------------------------------------------------------------------------------------


def _lengths(points: Float[Tensor, "point objective"]) -> Float[Tensor, "direction point"]:
    """Return how far each box [0, point] reaches along directions drawn evenly from the positive sphere."""
    m = points.shape[1]
    ball = torch.randn(DIRECTIONS, m, generator=torch.Generator().manual_seed(0), dtype=torch.float64).abs()
    direction = ball / ball.norm(dim=1, keepdim=True)
    return (points[None] / direction[:, None]).amin(dim=2)


def _constant(m: int) -> float:
    """Return the volume of the unit ball's positive part: that much of space lies within length 1 along directions."""
    return math.pi ** (m / 2) / (2**m * math.gamma(m / 2 + 1))


def _upper_hull(points: Float[Tensor, "point 2"]) -> list[int]:
    """Return which of two-dimensional points are corners of the hull's non-dominated side, x rising."""
    hull: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i, 0].item(), points[i, 1].item())):
        while len(hull) > 1 and _turns_left(*points[[hull[-2], hull[-1], i]]):
            hull.pop()
        hull.append(i)
    keep = non_dominated(points[hull])
    return [i for i, kept in zip(hull, keep.tolist()) if kept]


def _turns_left(a: Tensor, b: Tensor, c: Tensor) -> bool:
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])) >= 0


def _area(front: Float[Tensor, "point 2"]) -> float:
    """Return the area under a curve of points, x rising, and left of its last."""
    x, y = front[:, 0], front[:, 1]
    return float(x[0] * y[0] + ((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2).sum())


def _ascended(task: KnownFront, members: int, seed: int, steps: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(members, 1, len(task.arms), generator=generator, dtype=torch.float64)
    logits = start.requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.05)
    reference, best = torch.zeros(task.objectives).double(), 0.0
    for _ in range(steps):
        odds = logits.softmax(dim=2).expand(-1, task.words, -1)
        means = task.means(odds)
        best = max(best, hypervolume(means.detach(), reference))
        optimizer.zero_grad()
        (-(gradient(means.detach(), reference) * means).sum()).backward()
        optimizer.step()
    return best
