"""A tabular policy in a tabular world: prompts are numbers, rewards are a table of tokens."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch

from moalign.objectives import Objective
from moalign.policies import Tabular
from moalign.records import Environment, Examples, Metrics, Prompts, Rewards, Rows, Samples, Setting, State, Stream
from moalign.training.loop import initial_state, train
from moalign.training.recipe import Recipe, knobs
from moalign.training.session import Session

NAN = float("nan")
WORDS, PROMPTS = 4, 2


@dataclass(frozen=True)
class World(Environment):
    """A completion's reward is the sum over its tokens of ``worth[token]``, one column per objective."""

    worth: torch.Tensor  # word objective
    names: tuple[str, ...]
    step: int = 0
    seed: int = 0
    valid: Callable[[Rows], torch.Tensor] | None = None  # which rows have a reward

    def at(self, step: int) -> "World":
        return replace(self, step=step)

    def stream(self, purpose: str, round: int = 0) -> Stream:
        return Stream(self.seed, self.step, purpose, round)

    def prompts(self, count: int, round: int = 0) -> Prompts:
        number = torch.arange(count) % PROMPTS
        columns = {"prompt": [str(i) for i in number.tolist()]}
        return Prompts(number, number[:, None], torch.ones(count, 1, dtype=torch.bool), columns)

    def examples(self, count: int, columns: Any) -> Examples:
        return Examples(self.prompts(count), [["1 2", "3"][: len(columns)] for _ in range(count)])

    def encode(self, completions: Any) -> Samples:
        lists = [[int(word) for word in text.split()] for text in completions]
        width = max(map(len, lists))
        tokens = torch.tensor([ids + [0] * (width - len(ids)) for ids in lists])
        mask = torch.arange(width) < torch.tensor([[len(ids)] for ids in lists])
        return Samples(tokens, mask, torch.zeros(tokens.shape), torch.ones(len(lists), dtype=torch.bool))

    def decode(self, tokens: list[list[int]]) -> list[str]:
        return ["".join(f"{word}|" for word in line) for line in tokens]

    def score(self, rows: Rows) -> Rows:
        values = (self.worth[rows.tokens] * rows.completion_mask[..., None]).sum(dim=1)
        valid = torch.ones(values.shape, dtype=torch.bool) if self.valid is None else self.valid(rows)
        nothing = torch.full((len(self.names),), NAN)
        return replace(rows, rewards=Rewards(torch.where(valid, values, 0.0), valid, self.names, nothing, nothing))

    def drain(self) -> Metrics:
        return {}


@dataclass
class Run:
    """What a run left: the policy, its state, and each step's record."""

    policy: Tabular
    state: State
    records: list[dict[str, Any]] = field(default_factory=list)

    def odds(self) -> torch.Tensor:
        """Probabilities by member, prompt, position and word."""
        return self.policy.tensors["logits"].detach().softmax(dim=-1)


@pytest.fixture
def world() -> Callable[..., World]:
    def build(worth: list[list[float]], names: tuple[str, ...] = ("a", "b"), **options: Any) -> World:
        return World(torch.tensor(worth), names, **options)

    return build


@pytest.fixture
def go() -> Callable[..., Run]:
    """Train a fresh tabular policy in a world, by the one loop."""

    def run(recipe: Recipe, env: World, preferences: list[list[float]], **options: Any) -> Run:
        members = [f"m{k}" for k in range(len(preferences))]
        policy = Tabular(members=members, prompts=PROMPTS, tokens=2, vocabulary=WORDS, **options)
        nothing = torch.full((len(env.names),), NAN)
        setting = Setting(env.names, nothing, nothing, torch.zeros(len(env.names)), nothing)
        records: list[dict[str, Any]] = []
        session = Session(objectives=[Objective(n, len) for n in env.names], setting=setting, on_step=records.append)
        state = initial_state(recipe, policy, torch.tensor(preferences), setting, knobs(recipe, len(members)))
        trained, state = train(session, recipe, policy, env, state)
        assert isinstance(trained, Tabular)
        return Run(trained, state, records)

    return run
