"""Recipes as values: options by path, numbers that move, errors before anything is trained."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from moalign import recipes
from moalign.errors import ConfigError, UnknownNameError
from moalign.losses import KL, PolicyLoss, constant, value_mse
from moalign.optimizers.steps import SGD, AdamW
from moalign.parts import Linear, PerMember, Same, bind
from moalign.records import Couples, Credit, Need, Rows
from moalign.training.recipe import Recipe, knobs, moving, resolve, valued_at, with_options


def recipe(**changes: Any) -> Recipe:
    return Recipe(**{"name": "test", "losses": {"policy": PolicyLoss(), "kl": KL(beta=0.1)}} | changes)


def test_options_are_found_by_name_or_path() -> None:
    changed = with_options(recipe(), {"beta1": 0.8, "kl.beta": 0.2, "losses.policy.bounds.epsilon": 0.3, "steps": 7})
    assert (changed.steps, changed.update.rule.beta1, changed.losses["kl"].beta) == (7, 0.8, 0.2)
    assert dict(changed.losses["policy"].bounds.options) == {"epsilon": 0.3}
    assert recipe() == with_options(recipe(), {}) and changed != recipe()


def test_an_option_of_a_part_chosen_in_the_same_call() -> None:
    options = {"update.max_kl": 0.5, "update": "line-search", "collect.retain": 3, "collect": "gfpo"}
    for order in (options, dict(reversed(options.items()))):
        changed = with_options(recipe(), order)
        assert (changed.update.max_kl, changed.collect.retain) == (0.5, 3)
    deeper = with_options(recipe(), {"update.rule": "sgd", "update.rule.momentum": 0.5})
    assert deeper.update.rule == SGD(momentum=0.5)
    backwards = with_options(recipe(), {"update.rule.momentum": 0.5, "update.rule": "sgd"})
    assert backwards == deeper


def test_underscores_and_hyphens_name_the_same_part() -> None:
    assert recipe(reduce="token_mean") == recipe(reduce="token-mean") == recipe()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epsilonn": 0.3}, "did you mean"),
        ({"update.rule.beta_1": 0.3}, "did you mean beta1 or beta2"),
        ({"update": "decent"}, "no update is called `decent`; did you mean descent?"),
        ({"reduce": "tokenmean"}, "no reduction is called `tokenmean`; did you mean token-mean?"),
        ({"stepz": 3}, "did you mean steps?"),
    ],
)
def test_unknown_names_show_the_nearest(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnknownNameError, match=message.replace("?", r"\?")):
        with_options(recipe(), changes)


def test_a_name_that_could_mean_several_is_refused() -> None:
    two = recipe(losses={"a": KL(beta=0.1), "b": KL(beta=0.2)})
    with pytest.raises(ConfigError, match=r"`beta` could be .*losses\.a\.beta.*losses\.b\.beta"):
        with_options(two, {"beta": 0.3})
    assert with_options(two, {"b.beta": 0.3}).losses["b"].beta == 0.3


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("steps", -1, "integer of at least 0"),
        ("steps", True, "integer of at least 0"),
        ("prompts_per_step", 0, "integer of at least 1"),
        ("num_generations", 0, "integer of at least 1"),
        ("max_completion_length", 0, "integer of at least 1"),
        ("temperature", 0.0, "positive"),
        ("temperature", float("nan"), "positive"),
        ("temperature", PerMember([1.0, -1.0]), "positive"),
        ("learning_rate", -1e-4, "at least 0"),
        ("learning_rate", float("inf"), "at least 0"),
        ("learning_rate", PerMember([1e-4, float("nan")]), "at least 0"),
        ("eval_temperature", -0.5, "at least 0"),
        ("losses", {}, "`losses` is empty"),
    ],
)
def test_numbers_out_of_range_are_refused(field: str, value: Any, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        recipe(**{field: value})


def test_moving_numbers_become_numbers() -> None:
    moved = recipe(learning_rate=Linear(1.0, 0.0), temperature=PerMember([1.0, 0.5]))
    moved = with_options(moved, {"kl.beta": Linear(0.0, 0.2), "max_grad_norm": PerMember([1.0, 2.0])})
    assert set(moving(moved)) == {"learning_rate", "temperature", "losses.kl.beta", "update.max_grad_norm"}
    state = knobs(moved, 2)
    now = resolve(moved, 0.25, state)
    assert (now.learning_rate, now.losses["kl"].beta) == (0.75, pytest.approx(0.05))
    assert_close(now.temperature, torch.tensor([1.0, 0.5]))
    assert_close(now.update.max_grad_norm, torch.tensor([1.0, 2.0]))
    assert not moving(now) and resolve(recipe(), 0.5, {}) == recipe()
    # what breeding made of the state is what counts, not what was declared
    assert_close(
        resolve(moved, 0.5, {**state, "temperature": torch.tensor([2.0] * 3)}).temperature, torch.full((3,), 2.0)
    )


def test_a_warmup_may_begin_at_a_rate_of_zero() -> None:
    assert resolve(recipe(learning_rate=Linear(0.1, 0.0, warmup=0.5)), 0.0, {}).learning_rate == 0.0


def test_values_for_another_number_of_members_are_refused() -> None:
    with pytest.raises(ConfigError, match="`temperature` has 2 values for 3 members"):
        knobs(recipe(temperature=PerMember([1.0, 0.5])), 3)


def test_members_are_valued_at_the_end_of_a_schedule_and_each_at_its_own() -> None:
    assert valued_at(recipe(temperature=0.7), {}) == 0.7
    assert valued_at(recipe(temperature=Linear(1.0, 0.4)), {}) == pytest.approx(0.4)
    assert valued_at(recipe(temperature=Linear(1.0, 0.4), eval_temperature=0.0), {}) == 0.0
    each = recipe(temperature=PerMember([1.0, 0.5]))
    assert_close(valued_at(each, knobs(each, 2)), torch.tensor([1.0, 0.5]))


@pytest.mark.parametrize("name", ["dr_grpo", "linear", "hypervolume", "lagrangian", "trust_region", "c_morl"])
def test_the_constant_of_a_reduction_follows_the_longest_completion(name: str) -> None:
    made = getattr(recipes, name)(max_completion_length=64)
    again = with_options(made, {"max_completion_length": 32})
    fixed = with_options(made, {"reduce.length": 100})
    lengths = [dict(resolve(r, 0.0, {}).reduce.options)["length"] for r in (made, again, fixed)]
    assert lengths == [64, 32, 100]


def test_what_follows_another_setting_follows_its_schedule() -> None:
    both = recipe(learning_rate=Linear(1.0, 0.0), losses={"kl": KL(beta=Same("learning_rate"))})
    assert resolve(both, 0.25, {}).losses["kl"].beta == 0.75


def test_outside_a_recipe_the_constant_has_no_length(rows: Rows) -> None:
    with pytest.raises(ConfigError, match="pass a number"):
        constant(rows, Credit(torch.zeros(1, 1, 1)))


@pytest.fixture
def rows() -> Rows:
    one, yes = torch.zeros(1, dtype=torch.long), torch.ones(1, 1, dtype=torch.bool)
    return Rows(1, one, one, one, one[None], yes, one[None], yes, yes, yes[0], torch.ones(1), one)


def test_needs_and_couples_are_those_of_the_parts() -> None:
    assert recipe(losses={"policy": PolicyLoss()}).needs == {Need.LOGPROBS}
    assert recipe().needs == {Need.LOGPROBS, Need.REFERENCE}
    assert recipe(losses={"kl": KL(beta=0.0)}).needs == {Need.LOGPROBS}
    assert recipe(losses={"kl": KL(beta=Linear(0.0, 1.0))}).needs == {Need.LOGPROBS, Need.REFERENCE}
    assert Need.VALUES in recipe(losses={"value": bind(value_mse)}).needs
    assert recipe().couples is Couples.ROWS and recipes.dpo().couples is Couples.GROUPS


def test_a_function_and_its_name_are_one_value() -> None:
    assert recipe(reduce=constant).reduce == recipe(reduce="constant").reduce
    assert recipe(update=recipe().update).update.rule == AdamW()
