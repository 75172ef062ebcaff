"""What can be said of several processes without starting any; `tests/study/test_ranks.py` starts some."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from click.exceptions import BadParameter
from transformers import PreTrainedModel

from moalign import recipes
from moalign.errors import ConfigError
from moalign.models import best_device
from moalign.parts import Knob, PerMember
from moalign.policies import Tabular
from moalign.records import Setting
from moalign.rollouts.collect import ask
from moalign.study._assemble import assemble
from moalign.training.divided import WeighAll, divided
from moalign.training.ranks import Ranks, launched, status_of, together
from moalign.training.shares import cut, joined, refuse_idle, share_of
from moalign.weighting import Constant, GRPOLambda


@pytest.mark.parametrize("members, size", [(3, 2), (8, 3), (5, 5), (2, 4)])
def test_every_member_has_one_process(members: int, size: int) -> None:
    shares = [list(Ranks(rank, size).share(members)) for rank in range(size)]
    assert [k for share in shares for k in share] == list(range(members))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_shares_add_up_to_the_whole() -> None:
    policy = Tabular(members=["a", "b", "c"], prompts=1, tokens=1, vocabulary=2)
    state = {"update": {"active": torch.tensor([True, False, True])}, "breed": {}, "weighting": {"x": torch.ones(3)}}
    saved = joined([share_of(policy, state)], state)
    parts = [cut(saved, Ranks(rank, 2)) for rank in range(2)]
    assert [part["members"] for part in parts] == [["a"], ["b", "c"]]
    assert parts[1]["state"]["update"]["active"].tolist() == [False, True]
    assert len(parts[0]["state"]["weighting"]["x"]) == 3  # a controller sees all members everywhere
    again = joined(parts, state)
    assert again["members"] == saved["members"] and again["state"]["breed"] == {}
    torch.testing.assert_close(again["policy"], saved["policy"], rtol=0, atol=0)
    torch.testing.assert_close(again["state"]["update"], state["update"], rtol=0, atol=0)


def test_more_processes_than_prompts_of_members_are_refused() -> None:
    refuse_idle(3, 1, Ranks(0, 3))
    refuse_idle(1, 4, Ranks(0, 4))
    with pytest.raises(ConfigError, match=r"5 processes for 1 trained member and 4 prompts of a step: start at most 4"):
        refuse_idle(1, 4, Ranks(0, 5))


@pytest.mark.parametrize("size, members", [(4, 3), (8, 3), (2, 1), (5, 5), (3, 7)])
def test_teams_hold_every_member_and_none_stands_idle(size: int, members: int) -> None:
    every = [Ranks(rank, size, many=min(size, members)) for rank in range(size)]
    first = [list(one.share(members)) for one in every if one.part == 0]
    assert [k for own in first for k in own] == list(range(members)) and all(first)
    for team in {one.team for one in every}:
        mates = [one for one in every if one.team == team]
        assert [one.part for one in mates] == list(range(mates[0].parts)) == list(range(len(mates)))
        assert len({one.share(members) for one in mates}) == 1


def test_a_share_of_the_rows_gets_what_it_gets_in_the_whole(world: Callable[..., Any]) -> None:
    env = world([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5], [0.2, 0.1]])
    policy = Tabular(members=["a", "b", "c"], prompts=2, tokens=2, vocabulary=4)
    options = {"stream": env.stream("rollout"), "n": 3, "max_new_tokens": 2, "temperature": 1.0}
    rows = env.score(ask(policy, env.prompts(4), **options))
    nothing = torch.full((2,), torch.nan)
    setting = Setting(env.names, nothing, nothing, torch.zeros(2), nothing)
    controller = GRPOLambda(share=0.5)
    state = controller.init(torch.tensor([[0.9, 0.1], [0.3, 0.7], [0.6, 0.4]]), setting)
    expected = controller.weigh(state, rows)[0]
    for rank in range(2):
        ranks = Ranks(rank, 2)
        own = list(ranks.share(3))
        held = rows.select((rows.member >= own[0]).logical_and(rows.member <= own[-1]).nonzero()[:, 0])
        held = replace(held, members=len(own), member=held.member - own[0])
        assert torch.equal(WeighAll(controller, ranks).weigh(state, held)[0], expected[own])
    assert len(expected.unique(dim=1)[0]) > 1  # it depends on the rows


def test_a_model_that_does_not_fit_is_refused(tiny_study: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(PreTrainedModel, "to", full)
    with pytest.raises(ConfigError, match="`model` does not fit on cpu: every process holds all of it"):
        assemble(tiny_study())


@dataclass(frozen=True)
class Leaning(Constant):
    lean: Knob = 0.5


def test_a_controllers_number_per_member_is_refused() -> None:
    recipe = replace(recipes.gdpo(), weighting=Leaning(PerMember([0.1, 0.2])))
    assert divided(recipe, Ranks()) is recipe
    with pytest.raises(ConfigError, match=r"`recipe\.weighting\.lean` is set per member"):
        divided(recipe, Ranks(0, 2))


def test_alone_nothing_is_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")  # some schedulers set it without a launcher: nobody to talk to
    assert launched() == 1
    with together() as outer, together() as inner:
        assert outer is inner and outer.leads
        assert outer.first(lambda: 3) == 3 and outer.all(4) == [4] and outer.to_first(5) == [5]


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert best_device() == torch.device("cpu") or torch.cuda.is_available()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert best_device() == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert best_device() == torch.device("cuda", 1)


def test_statuses_are_those_of_the_command_line() -> None:
    errors = [ConfigError("x"), SystemExit(75), SystemExit(), SystemExit("no"), BadParameter("x"), ValueError("x")]
    assert [status_of(error) for error in errors] == [2, 75, 0, 1, 2, 1]
