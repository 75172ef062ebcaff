"""One member offered as many: each preference asks for its own rewards."""

from dataclasses import dataclass

import pytest
import torch

from moalign import recipes
from moalign.errors import ConfigError
from moalign.parts import bind
from moalign.records import Need, Policy
from moalign.rollouts import RewardText, linf_target
from moalign.training.in_context import InContext
from moalign.training.recipe import resolve, trained_members

DIGITS = RewardText(template="{value}", separator=",", levels=9)
SEEN = {"low": torch.tensor([[0.0, -10.0]]), "high": torch.tensor([[1.0, 0.0]])}
WISHES = torch.tensor([[1.0, 0.0], [0.3, 0.7], [0.0, 1.0]])


@dataclass
class Alone(Policy):
    """One member that is only offered."""

    members: tuple[str, ...] = ("m00",)
    tokenizer: object = object()
    provides: frozenset[Need] = frozenset()
    device: torch.device = torch.device("cpu")


def test_each_preference_becomes_a_prefix() -> None:
    offered, wished, kinds = InContext(text=DIGITS)(Alone(), WISHES, {"collect": SEEN})
    # shares (.3939, .9191) of nine levels: 3.5 and 8.3; the lowest to the highest of -10..0 are levels 0 to 9, too
    assert offered.prefixes == {"c00": "9,0 ", "c01": "4,8 ", "c02": "0,9 "}
    assert wished is WISHES and kinds == ("conditioned",) * 3
    offered, _, _ = InContext(bind(linf_target), text=DIGITS)(Alone(), WISHES, {"collect": SEEN})
    assert offered.prefixes["c01"] == "5,9 "  # shares .6 and 1
    offered, _, _ = InContext(text=DIGITS, floor=0.5)(Alone(), WISHES, {"collect": SEEN})
    assert offered.prefixes["c01"] == "6,9 "  # (1 + .3939) / 2 and (1 + .9191) / 2: 6.3 and 8.6


def test_z_scores_are_of_the_rewards_that_were_seen() -> None:
    seen = {**SEEN, "mean": torch.tensor([[0.5, -5.0]]), "square": torch.tensor([[0.5, 29.0]])}  # deviations .5 and 2
    offered, _, _ = InContext(text=RewardText())(Alone(), torch.tensor([[1.0, 0.0]]), {"collect": seen})
    assert offered.prefixes == {"c00": "<rm1_score> 1.0 <rm2_score> -2.5 "}  # (1 - .5) / .5, (-10 + 5) / 2


def test_the_text_is_that_of_training() -> None:
    recipe = resolve(recipes.ric(levels=5, template="{value}"), 1.0, {})
    assert recipe.offer.text == RewardText(template="{value}", levels=5) == recipe.collect.text
    assert InContext("linf").target == bind(linf_target)


def test_one_member_is_trained() -> None:
    assert trained_members(recipes.ric(), 8) == 1 and trained_members(recipes.sft(), 8) == 8


def test_needs_a_collector_that_tells_rewards() -> None:
    assert recipes.ric().problems() == []
    (problem,) = recipes.ric(collect="examples", **{"offer.text": DIGITS}).problems()
    assert "needs a collector that tells rewards" in problem
    with pytest.raises(ConfigError):
        recipes.ric(online=2.0)
