"""What each recipe is: every part and setting in which it departs from the plainest recipe."""

from collections.abc import Mapping
from typing import Any

import pytest

from moalign import recipes
from moalign.losses import KL, PolicyLoss
from moalign.parts import After, Bound, Linear, Same, canonical, walk
from moalign.rollouts import RewardText
from moalign.training.recipe import Recipe

PLAIN = Recipe(name="plain", losses={"policy": PolicyLoss(), "kl": KL(beta=0.0)})
# fresh samples, advantages (r - mean) / (std + eps) in the group, ratio kept in [0.8, 1.2], token mean, AdamW

CENTRED = {"credit.estimate.scale": False}
EACH = {"credit.collapse": "at-advantage"}  # objectives are standardized one by one, then weighted
TARGET = {"credit.rescale": "to-std", "credit.rescale.target": 0.6, "credit.rescale.floor": 1e-6}
CONSTANT = {"reduce": "constant", "reduce.length": "= max_completion_length"}
GRPO = {"reduce": "sequence-mean", "losses.kl.beta": 0.04, "num_generations": 64, "max_completion_length": 1024,
        "learning_rate": 1e-6}  # fmt: skip
REINFORCE = {"losses.policy.surrogate": "plain", "reduce": "sequence-sum"}
GAPS = {"breed": "gap-fill", "breed.at": 0.5, "breed.parents": 1, "breed.clones": 1, "breed.retain": 0.9}

BINDINGS: dict[str, dict[str, Any]] = {
    "grpo": GRPO,  # Shao et al. 2024, section 4.2
    "gfpo": GRPO | {"num_generations": 16, "collect": "gfpo", "collect.inner": "sample", "collect.retain": 4,
                    "collect.inner.mask_truncated": False, "collect.metric": "length"},
    "ar3po": GRPO | {"num_generations": 8, "collect": "ar3po", "collect.rounds": 2, "collect.solved": 1.0},
    "knapsack_grpo": GRPO | {"num_generations": 8, "collect": "knapsack", "collect.first": 4, "collect.most": 128,
                             "collect.solved": 1.0, "collect.objective": ""},
    "balanced_grpo": GRPO | {"reduce": "balanced"},
    "grpo_lambda": GRPO | {"weighting": "grpo-lambda", "weighting.share": 0.2, "weighting.main": ""},
    "f_grpo": GRPO | {"collect": "segmented", "collect.inner": "sample", "collect.inner.mask_truncated": False,
                      "collect.delimiters": ("#",), "collect.segment_names": ("before", "after"),
                      "credit.collapse": "at-gradient", "credit.place": "routed", "credit.place.route": []},
    "dcpo": GRPO | {"num_generations": 16, "update.passes": 2, "losses.kl.beta": 0.0, "losses.policy.bounds": "dcpo",
                    "losses.policy.bounds.epsilon": 0.16, "losses.policy.bounds.epsilon_high": 0.2,
                    "losses.policy.bounds.r_max": 10.0},
    "gspo": GRPO | {"num_generations": 8, "losses.kl.beta": 0.0, "losses.policy.ratio": "sequence",
                    "losses.policy.bounds.epsilon": 3e-4, "losses.policy.bounds.epsilon_high": 4e-4},
    "dr_grpo": CENTRED | CONSTANT,
    "trust_region": CENTRED | CONSTANT | {
        "losses": ["policy"], "losses.policy.bounds.epsilon": 1e9, "update": "line-search", "update.max_kl": 0.01,
        "update.backtracks": 10, "update.shrink": 0.5, "learning_rate": 1.0},
    "gdpo": EACH | {"credit.rescale": "batch-standardize", "credit.rescale.eps": 1e-4},
    "rewarded_soup": EACH | {"credit.rescale": "batch-standardize", "credit.rescale.eps": 1e-4, "offer": "soups",
                             "offer.count": 8},
    "mgda": {"credit.collapse": "at-gradient", "update.mix": "min-norm"},
    "rloo": REINFORCE | {"credit.estimate": "leave-one-out", "num_generations": 4},
    "reinforce": REINFORCE | {"credit.estimate": "batch-centred"},
    "linear": EACH | TARGET | CONSTANT,
    "hypervolume": EACH | TARGET | CONSTANT | CENTRED | {
        "weighting": "hypervolume-gradient", "weighting.dominated": "rank", "weighting.warmup": 8,
        "weighting.ramp": 8, "weighting.floor": 0.05, "weighting.smoothing": 0.5, "weighting.memory": 0.7,
        "weighting.step": 0.02},
    "lagrangian": EACH | TARGET | CONSTANT | {
        "weighting": "lagrangian", "weighting.multiplier_lr": 0.1, "weighting.proportional": 3.0,
        "weighting.derivative": 0.0, "weighting.maximum": 10.0, "weighting.memory": 0.85},
    "c_morl": EACH | TARGET | CONSTANT | GAPS | {
        "weighting": "lagrangian", "weighting.multiplier_lr": 0.1, "weighting.proportional": 3.0,
        "weighting.derivative": 0.0, "weighting.maximum": 10.0, "weighting.memory": 0.85},
    "vapo": {  # Yue et al. 2025, section 5
        "credit": "gae", "credit.alpha": 0.05, "credit.gamma": 1.0, "credit.lambda_critic": 1.0,
        "losses": ["kl", "policy", "positive", "value"], "losses.policy.bounds.epsilon_high": 0.28,
        "losses.policy.coefficient": After(0.01), "losses.policy.coefficient.share": 0.01,
        "losses.policy.coefficient.value": 1.0, "losses.positive": "nll",
        "losses.positive.coefficient": After(0.01, 0.1), "losses.positive.coefficient.share": 0.01,
        "losses.positive.coefficient.value": 0.1, "losses.value": "value-mse", "losses.value.coefficient": 1.0,
        "reduce": "by-term", "reduce.terms": ["positive"], "reduce.rest": "token-mean",
        "reduce.terms.positive": "positives", "reduce.terms.positive.objective": "",
        "reduce.terms.positive.solved": 1.0, "update.passes": 2, "num_generations": 16, "learning_rate": 1e-6},
    "dpo": {
        "collect": "pairs", "reduce": "sequence-mean", "losses": ["preference"], "losses.preference": "preference",
        "losses.preference.score": "sum", "losses.preference.link": "dpo", "losses.preference.link.beta": 0.1},
    "modpo": {
        "collect": "scored-pairs", "reduce": "sequence-mean", "losses": ["preference"],
        "losses.preference": "modpo", "losses.preference.objective": "", "losses.preference.beta": 0.1,
        "losses.preference.least": 0.05, "losses.preference.score": "sum"},
    "inpo": {  # Zhang et al. 2024, section 4.1 and appendix B
        "collect": "previous-iterate", "collect.iterate_every": 34, "collect.inner": "best-worst",
        "collect.inner.inner": "sample", "collect.inner.inner.mask_truncated": False, "collect.inner.oracle": "linear",
        "reduce": "sequence-mean", "losses": ["preference"], "losses.preference": "preference",
        "losses.preference.score": "mixture", "losses.preference.score.share": 1 / 3,
        "losses.preference.link": "ipo", "losses.preference.link.beta": 0.005},
    "ric": {  # main.py, utils.py and generation.py of YangRui2015/RiC
        "collect": "rewards-in-context", "collect.online": 5 / 6, "collect.quantile": 0.7, "collect.target": None,
        "collect.text": RewardText(), "collect.text.template": "<rm{number}_score> {value}",
        "collect.text.separator": " ", "collect.text.end": " ", "collect.text.decimals": 1,
        "collect.text.levels": None, "losses": ["nll"], "losses.nll": "nll", "losses.nll.coefficient": 1.0,
        "offer": "in-context", "offer.target": "l2", "offer.floor": 0.0, "offer.text": "= collect.text",
        "offer.text.path": "collect.text", "num_generations": 1, "temperature": 0.7, "eval_temperature": 1.0,
        "learning_rate": Linear(1.414e-4, 1e-5), "learning_rate.start": 1.414e-4, "learning_rate.end": 1e-5,
        "learning_rate.warmup": 0.0},
    "sft": {"collect": "examples", "losses": ["nll"], "losses.nll": "nll", "losses.nll.coefficient": 1.0},
}  # fmt: skip


def described(recipe: Recipe) -> dict[str, Any]:
    """Return every number and the name of every part, by path."""
    return {path: sorted(value) if isinstance(value, Mapping) else _word(value) for path, value in walk(recipe)}


def _word(value: Any) -> Any:
    if isinstance(value, Same):
        return f"= {value.path}"
    return getattr(value.fn if isinstance(value, Bound) else value, "part_name", value)


@pytest.mark.parametrize("name", BINDINGS)
def test_bindings(name: str) -> None:
    found, plain = described(getattr(recipes, name)()), described(PLAIN)
    different = {path: value for path, value in found.items() if path not in plain or value != plain[path]}
    assert different.pop("name") == name
    different.pop("reduce.length.path", None)  # shown as "= max_completion_length"
    expected = BINDINGS[name]
    assert different == {path: value for path, value in expected.items() if plain.get(path, ...) != value}


def test_the_plain_recipe() -> None:
    plain = described(PLAIN)
    assert plain["credit.estimate"] == "group-relative" and plain["credit.estimate.scale"] is True
    assert plain["losses.policy.ratio"] == "token" and plain["losses.policy.surrogate"] == "clipped"
    assert (plain["losses.policy.bounds.epsilon"], plain["losses.policy.bounds.epsilon_high"]) == (0.2, None)
    assert plain["losses.kl.estimator"] == "k3" and plain["reduce"] == "token-mean"
    assert (plain["update.rule"], plain["update.max_grad_norm"], plain["update.passes"]) == ("adamw", 1.0, 1)
    assert (plain["num_generations"], plain["max_completion_length"], plain["learning_rate"]) == (8, 256, 1e-4)


@pytest.mark.parametrize("name", BINDINGS)
def test_every_recipe_takes_changes(name: str) -> None:
    made = getattr(recipes, name)(steps=7, learning_rate=0.5, name="mine")
    assert (made.steps, made.learning_rate, made.name) == (7, 0.5, "mine")
    assert made == getattr(recipes, name)(steps=7, learning_rate=0.5, name="mine")  # recipes are values


def test_gspo_is_grpo_with_one_ratio_per_sequence() -> None:
    grpo, gspo = described(recipes.grpo()), described(recipes.gspo())
    assert {p for p in grpo if grpo[p] != gspo[p]} == {
        "name", "num_generations", "losses.kl.beta", "losses.policy.ratio", "losses.policy.bounds.epsilon",
        "losses.policy.bounds.epsilon_high"}  # fmt: skip


def test_every_recipe_is_bound_here() -> None:
    assert {canonical(name) for name in BINDINGS} == {canonical(name) for name in recipes.RECIPES}
