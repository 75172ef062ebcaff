"""The one loop, on a tabular policy in a world whose rewards are known."""

import ast
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from moalign import recipes, training
from moalign.credit import AtAdvantage, AtGradient, CreditPipeline, group_relative
from moalign.losses import KL, PolicyLoss, constant_bounds, value_mse
from moalign.optimizers.steps import SGD
from moalign.parts import REGISTRY, Linear, PerMember, bind
from moalign.records import Outputs, Rows, State
from moalign.training.descent import Descent
from moalign.training.gap_fill import GapFill
from moalign.training.losses import TotalLoss
from moalign.training.recipe import Recipe

Go = Callable[..., Any]
WORTH = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.4, 0.4]]  # word objective
CORNERS = [[1.0, 0.0], [0.0, 1.0]]


def recipe(**changes: Any) -> Recipe:
    settings: dict[str, Any] = {
        "name": "test",
        "credit": CreditPipeline(collapse=AtAdvantage()),
        "losses": {"policy": PolicyLoss()},
        "steps": 3,
        "prompts_per_step": 2,
        "num_generations": 8,
        "max_completion_length": 2,
        "learning_rate": 0.1,
    }
    return Recipe(**settings | changes)


def test_members_learn_what_they_prefer(world: Go, go: Go) -> None:
    run = go(recipe(steps=40), world(WORTH), CORNERS)
    odds = run.odds()
    assert (odds[0, :, :, 1] > 0.8).all() and (odds[1, :, :, 2] > 0.8).all()  # words 1 and 2 are worth most to them


def test_state_is_one_dict_of_tensors_that_lead_with_member(world: Go, go: Go) -> None:
    run = go(recipe(temperature=PerMember([1.0, 0.5])), world(WORTH), CORNERS)
    assert run.state.keys() == {"knobs", "credit", "update", "weighting", "running", "breed"}

    def tensors(value: Any) -> list[torch.Tensor]:
        if isinstance(value, dict):
            return [t for item in value.values() for t in tensors(item)]
        return [value]

    found = tensors(run.state)
    assert len(found) >= 7 and all(isinstance(t, torch.Tensor) and len(t) == 2 for t in found)


def test_every_step_is_recorded(world: Go, go: Go) -> None:
    run = go(recipe(steps=3), world(WORTH), CORNERS)
    assert [record["step"] for record in run.records] == [0, 1, 2]
    for record in run.records:
        assert record["members"] == ["m0", "m1"]
        assert record["weights/a"] == [1.0, 0.0] and record["weights/b"] == [0.0, 1.0]
        for name in ("rewards/a/mean", "rewards/b/std", "loss", "grad_norm", "active", "frac_reward_zero_std"):
            assert len(record[name]) == 2 and all(math.isfinite(x) for x in record[name]), name
        assert record["completions/mean_length"] == 2.0 and record["tokens"] == 64  # 2 members x 2 prompts x 8 x 2
        assert record["pareto/hypervolume"] > 0
    # the first running mean is the first mean
    assert run.records[0]["running/a"] == run.records[0]["rewards/a/mean"]


@dataclass(frozen=True)
class Spy:
    """Write down what an update is given, then do nothing."""

    seen: list[Any]
    passes: int = 1

    def init(self, policy: Any) -> State:
        return {}

    def __call__(self, policy: Any, rows: Rows, losses: TotalLoss, state: State, now: Any) -> tuple[dict, State]:
        self.seen.append((rows, losses, now))
        return {}, state


def test_numbers_that_move_are_numbers_when_a_part_runs(world: Go, go: Go) -> None:
    spy = Spy([])
    go(
        recipe(
            steps=4,
            update=spy,
            learning_rate=Linear(0.4, 0.0),
            temperature=PerMember([1.0, 0.25]),
            losses={
                "policy": PolicyLoss(bounds=bind(constant_bounds, epsilon=PerMember([0.1, 0.3]))),
                "kl": KL(beta=Linear(0.0, 1.0)),
            },
        ),
        world(WORTH),
        CORNERS,
    )
    assert [round(now.learning_rate, 6) for _, _, now in spy.seen] == [0.4, 0.3, 0.2, 0.1]
    assert [now.losses["kl"].beta for _, _, now in spy.seen] == [0.0, 0.25, 0.5, 0.75]
    rows, losses, now = spy.seen[0]
    assert_close(now.temperature, torch.tensor([1.0, 0.25]))
    assert_close(rows.temperature, torch.tensor([1.0, 0.25])[rows.member])
    assert rows.reference_logprobs is not None  # a penalty that begins at 0 needs its reference all the same
    low, _ = losses.terms["policy"].bounds(Outputs(rows.behaviour_logprobs), rows)
    assert_close(low, torch.tensor([[0.1], [0.3]])[rows.member])


def test_rates_differ_between_members(world: Go, go: Go) -> None:
    rates = PerMember([0.0, 0.1, 0.2])
    run = go(recipe(steps=1, learning_rate=rates, update=Descent(rule=SGD())), world(WORTH), [[0.5, 0.5]] * 3)
    moved = run.policy.tensors["logits"].detach().flatten(1).norm(dim=1)
    expected = torch.tensor(run.records[0]["grad_norm"]).clamp(max=1.0) * torch.tensor(rates.values)
    assert moved[0] == 0 and moved[1] > 0
    assert_close(moved, expected, atol=1e-5, rtol=1e-4)


def test_clipping_and_penalty_differ_between_members(world: Go, go: Go) -> None:
    norms = PerMember([0.01, 0.02])
    run = go(recipe(steps=1, update=Descent(rule=SGD(), max_grad_norm=norms), learning_rate=1.0), world(WORTH), CORNERS)
    assert_close(
        run.policy.tensors["logits"].detach().flatten(1).norm(dim=1), torch.tensor(norms.values), rtol=1e-3, atol=0
    )
    strict = {"policy": PolicyLoss(), "kl": KL(beta=PerMember([0.0, 50.0]))}
    free = go(recipe(steps=15, losses=strict, update=Descent(rule=SGD())), world(WORTH), [[1.0, 0.0]] * 2)
    moved = free.policy.tensors["logits"].detach().flatten(1).norm(dim=1)
    assert moved[0] > 3 * moved[1]


def test_a_colder_member_samples_its_favourite_more_often(world: Go, go: Go) -> None:
    start = torch.zeros(2, 2, 4)
    start[..., 1] = 1.0
    spy = Spy([])
    options = {"temperature": PerMember([1.0, 0.2]), "num_generations": 64, "update": spy, "steps": 1}
    go(recipe(**options), world(WORTH), CORNERS, start=start)
    rows = spy.seen[0][0]
    share = [float((rows.tokens[rows.member == k] == 1).float().mean()) for k in range(2)]
    # softmax of (0, 1, 0, 0) and of (0, 5, 0, 0): 0.475 and 0.98
    assert share == pytest.approx([0.475, 0.98], abs=0.08)


def turned(worth: list[list[float]]) -> list[list[float]]:
    return [list(reversed(line)) for line in worth]


@pytest.mark.parametrize("collapse", [AtAdvantage(), AtGradient()], ids=["advantage", "gradient"])
def test_order_and_names_of_objectives_change_nothing(world: Go, go: Go, collapse: Any) -> None:
    for mix in ("linear", "min-norm"):
        part = recipe(credit=CreditPipeline(collapse=collapse), update=Descent(mix=mix), steps=4)
        wishes = [[0.7, 0.3], [0.2, 0.8]]
        one = go(part, world(WORTH), wishes)
        other = go(part, world(turned(WORTH), names=("z", "y")), turned(wishes))
        assert_close(one.odds(), other.odds(), atol=1e-6, rtol=1e-5)
        assert one.records[-1]["rewards/a/mean"] == other.records[-1]["rewards/y/mean"]


@pytest.mark.parametrize("collapse", [AtAdvantage(), AtGradient()], ids=["advantage", "gradient"])
def test_a_constant_objective_gives_no_gradient(world: Go, go: Go, collapse: Any) -> None:
    flat = [[a, 0.5] for a, _ in WORTH]  # two tokens: always worth 1.0 in b
    part = recipe(credit=CreditPipeline(collapse=collapse), steps=1, update=Descent(rule=SGD(), max_grad_norm=0.0))
    run = go(part, world(flat), [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    moved = run.policy.tensors["logits"].detach()
    assert torch.equal(moved[0], torch.zeros_like(moved[0]))
    assert_close(moved[1], moved[2] * 0 + moved[1])  # finite
    assert run.records[0]["grad_norm"][0] == 0.0 and run.records[0]["grad_norm"][1] > 0


def half_missing(rows: Rows) -> torch.Tensor:
    return torch.stack([rows.index % 2 == 0, torch.ones(len(rows)) > 0], dim=1)


def never(rows: Rows) -> torch.Tensor:
    return torch.stack([rows.index < 0, rows.index >= 0], dim=1)


@pytest.mark.parametrize("valid", [half_missing, never])
@pytest.mark.parametrize("name", ["grpo", "gdpo", "dr_grpo", "rloo", "reinforce", "gspo", "mgda", "linear",
                                  "hypervolume", "lagrangian", "gfpo", "dcpo", "trust_region", "c_morl"])  # fmt: skip
def test_missing_rewards_leave_no_nan(world: Go, go: Go, name: str, valid: Any) -> None:
    part = getattr(recipes, name)(
        steps=3, prompts_per_step=2, num_generations=8, max_completion_length=2, learning_rate=0.1
    )
    run = go(part, world(WORTH, valid=valid), [[0.5, 0.5], [1.0, 0.0]])
    assert torch.isfinite(run.policy.tensors["logits"]).all()
    for record in run.records:
        assert record["active"][:2] == [1, 1]
        means = ("rewards/a", "running/a", "pareto", "covariance/", "correlation/")  # missing where nothing was seen
        known = {k: v for k, v in record.items() if not k.startswith(means)}
        assert None not in [x for v in known.values() for x in (v if isinstance(v, list) else [v])], record
    means = [record["rewards/a/mean"] for record in run.records]
    assert all((mean[0] is None) == (valid is never) for mean in means)


def test_value_heads_learn_the_rewards(world: Go, go: Go) -> None:
    part = recipe(
        steps=30,
        losses={"policy": PolicyLoss(), "value": bind(value_mse, coefficient=0.5)},
        update=Descent(max_grad_norm=0.0),
    )
    run = go(part, world(WORTH), CORNERS, value_heads=2)
    losses = torch.tensor([record["loss"] for record in run.records])
    assert (losses[-5:].mean(dim=0) < 0.5 * losses[:2].mean(dim=0)).all()
    # member 0 has come to write word 1, worth (1, 0) at each of two places
    assert_close(run.policy.tensors["values"].detach()[0].mean(dim=(0, 1)), torch.tensor([2.0, 0.0]), atol=0.4, rtol=0)


def test_a_member_with_an_impossible_loss_is_stopped_and_named(
    world: Go, go: Go, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(outputs: Any, rows: Rows, credit: Any) -> torch.Tensor:
        bad = torch.where(rows.member == 1, torch.nan, 0.0)
        return (outputs.logprobs * bad[:, None])[..., None]

    run = go(recipe(losses={"policy": PolicyLoss(), "breaks": breaks}), world(WORTH), CORNERS)
    assert run.state["update"]["active"].tolist() == [True, False]
    assert torch.equal(run.policy.tensors["logits"][1], torch.zeros(2, 2, 4))
    assert run.policy.tensors["logits"][0].abs().max() > 0
    assert "member m1 stopped at step 0" in caplog.text and "member m0" not in caplog.text
    assert len([message for message in caplog.messages if "stopped" in message]) == 1


def test_the_loop_is_short_and_names_no_method() -> None:
    file = Path(training.__file__).with_name("loop.py")
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 80
    tree = ast.parse(text)
    words = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    words |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    words |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    named = {method.name for method in REGISTRY.values()} | {method.part.__name__ for method in REGISTRY.values()}
    assert {"grpo", "descent", "Descent", "line-search"} <= named
    own = {"policy", "members", "running"}  # a loss, an offer and a normalizer; here the step's own records
    assert not (words | texts) & (named - own)
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.If | ast.IfExp | ast.Match)]


def test_two_groups_of_rows_do_not_meet(world: Go, go: Go) -> None:
    """A member trained beside others ends where it ends alone."""
    part = recipe(steps=4, credit=CreditPipeline(estimate=bind(group_relative, scale=False), collapse=AtAdvantage()))
    both, alone = go(part, world(WORTH), CORNERS), go(part, world(WORTH), CORNERS[:1])
    assert_close(both.policy.tensors["logits"][0], alone.policy.tensors["logits"][0])
    again = go(part, replace(world(WORTH), seed=1), CORNERS[:1])
    assert not torch.equal(again.policy.tensors["logits"], alone.policy.tensors["logits"])


def test_pairs_and_examples_go_through_the_same_loop(world: Go, go: Go) -> None:
    small = {"steps": 30, "prompts_per_step": 2, "max_completion_length": 2, "learning_rate": 0.1}
    pairs = go(recipes.dpo(**small), world(WORTH), CORNERS)  # "1 2" is chosen, "3" rejected
    assert_close(torch.tensor(pairs.records[0]["loss"]), torch.full((2,), math.log(2)), atol=1e-5, rtol=0)
    odds = pairs.odds()
    chosen, rejected = odds[:, :, 0, 1] * odds[:, :, 1, 2], odds[:, :, 0, 3]
    assert (chosen / rejected > 2 * (1 / 16) / (1 / 4)).all()
    examples = go(recipes.sft(**small), world(WORTH), CORNERS)
    assert_close(torch.tensor(examples.records[0]["loss"]), torch.full((2,), math.log(4)), atol=1e-5, rtol=0)
    assert (examples.odds()[:, :, 0, 1] > 0.6).all() and (examples.odds()[:, :, 1, 2] > 0.6).all()


def test_cloned_members_take_their_numbers_along(world: Go, go: Go) -> None:
    part = recipe(
        steps=6,
        credit=CreditPipeline(collapse=AtAdvantage()),
        weighting="lagrangian",
        breed=GapFill(at=0.5, clones=2),
        temperature=PerMember([1.0, 0.5]),
        learning_rate=PerMember([0.1, 0.2]),
    )
    run = go(part, world(WORTH), CORNERS)
    assert [len(record["members"]) for record in run.records] == [2, 2, 2, 2, 4, 4]
    parent = run.policy.members[2].split(".")[0]
    assert run.policy.members[2:] == (f"{parent}.1", f"{parent}.2")
    number = run.policy.members.index(parent)
    for path in ("temperature", "learning_rate"):
        values = run.state["knobs"][path]
        assert len(values) == 4 and values[2] == values[3] == values[number]
    assert run.state["breed"]["born"].tolist() == [-1, -1, 3, 3]
    moved = run.policy.tensors["logits"].detach()
    assert not torch.equal(moved[2], moved[number]) and not torch.equal(moved[2], moved[3])  # they climb elsewhere
