"""moalign's estimator in verl's place, against a stand-in with verl's dispatch; verl itself is not installed.

The stand-in keeps what was read in verl's source: estimators get `token_level_rewards`, `response_mask`, `config` and,
as `index`, the ``uid``s by keyword; the one that is called ``gdpo`` also gets `non_tensor_batch` and `batch`; rewards'
components are columns of ``non_tensor_batch`` under their own names.
"""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from moalign.bridges import verl
from moalign.errors import ConfigError
from moalign.objectives import Objective
from moalign.weighting import Scheduled


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    def own(**given: Any) -> Any:
        raise AssertionError("verl's own was called")

    module = ModuleType("verl.trainer.ppo.core_algos")
    module.ADV_ESTIMATOR_REGISTRY = {"grpo": own, "gdpo": own}  # pyright: ignore[reportAttributeAccessIssue]
    for name in ("verl", "verl.trainer", "verl.trainer.ppo"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def compute_advantage(core: Any, data: SimpleNamespace, adv_estimator: str, config: dict[str, Any]) -> Any:
    given = {
        "token_level_rewards": data.batch["token_level_rewards"],
        "response_mask": data.batch["response_mask"],
        "config": config,
        "index": data.non_tensor_batch["uid"],
    }
    if adv_estimator == "gdpo":
        given |= {"non_tensor_batch": data.non_tensor_batch, "batch": data.batch}
    advantages, returns = core.ADV_ESTIMATOR_REGISTRY[adv_estimator](**given)
    return advantages, returns


CORRECT = [1.0, 0.0, 0.0, 1.0, 0.0, 1.0]
TOKENS = [4.0, 1.0, 3.0, 2.0, None, 6.0]
CONFIG: dict[str, Any] = {"gdpo_reward_keys": ["correct", "tokens"], "gdpo_reward_weights": [1.0, 0.5]}


def batch() -> SimpleNamespace:
    """Two prompts, whose completions do not stand together; the last token of the second row is padding."""
    mask = torch.ones(6, 3)
    mask[1, 2] = 0
    uid = np.array(["b", "a", "b", "a", "b", "a"], dtype=object)
    return SimpleNamespace(
        batch={"token_level_rewards": torch.zeros(6, 3), "response_mask": mask},
        non_tensor_batch={
            "uid": uid,
            "correct": np.array(CORRECT),
            "tokens": np.array(TOKENS, dtype=object),
            "data_source": np.array(["x"] * 6),
        },
    )


def by_hand(over_tokens: bool) -> torch.Tensor:
    """GDPO written out: each reward standardized in its prompt's group, the weighted sum over the batch."""
    data, eps = batch(), 1e-6 if over_tokens else 1e-4
    total = np.zeros(6)
    for weight, column in ((1.0, CORRECT), (0.5, TOKENS)):
        for rows in ([0, 2, 4], [1, 3, 5]):
            here = [i for i in rows if column[i] is not None]
            values = np.array([column[i] for i in here], dtype=float)
            total[here] += weight * (values - values.mean()) / (values.std(ddof=1) + eps)
    mask = data.batch["response_mask"].numpy() if over_tokens else np.ones((6, 1))
    counted = np.repeat(total, mask.sum(1).astype(int))  # once for each token, or for each completion
    scale = np.sqrt(counted.var(ddof=1) + 1e-8) if over_tokens else counted.std(ddof=1) + 1e-4
    return torch.tensor((total - counted.mean()) / scale).float()


@pytest.mark.parametrize("own", [True, False], ids=["verl's own", "by completions"])
def test_the_vector_reaches_the_credit(core: ModuleType, own: bool) -> None:
    verl.install() if own else verl.install(credit="grpo-trl", collapse="at-advantage", rescaler="batch-standardize")
    advantages, returns = compute_advantage(core, batch(), "gdpo", CONFIG)
    assert_close(advantages[:, 0], by_hand(over_tokens=own), atol=1e-5, rtol=0)
    assert torch.equal(advantages, returns) and torch.equal(advantages[0], advantages[0, :1].expand(3))
    assert advantages[1, 2] == 0 and advantages[1, 1] != 0


def test_directions_and_moving_weights(core: ModuleType) -> None:
    noted: list[dict[str, float]] = []
    made = verl.install(
        weighting=Scheduled(to={"tokens": 1.0}),
        objectives=[Objective("tokens", maximize=False)],
        estimator="group-relative",
        steps=2,
        on_batch=lambda metrics: noted.append(dict(metrics)),
    )
    config = {"gdpo_reward_keys": ["tokens"], "gdpo_reward_weights": None}
    advantages, _ = compute_advantage(core, batch(), "gdpo", config)
    assert advantages[3, 0] > advantages[5, 0]  # 2 tokens are better than 6
    assert advantages[4].eq(0).all()  # no reward at all
    made = verl.install(weighting=made.options["weighting"], steps=2, on_batch=lambda m: noted.append(dict(m)))
    for _ in range(3):
        compute_advantage(core, batch(), "gdpo", {**CONFIG, "gdpo_reward_weights": None})
    assert [m["weights/tokens"] for m in noted[1:]] == [0.5, 0.5, 0.75] and made.calls == 3


def test_other_estimators_stay(core: ModuleType) -> None:
    verl.install()
    with pytest.raises(AssertionError, match="verl's own"):
        compute_advantage(core, batch(), "grpo", CONFIG)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "`algorithm.gdpo_reward_keys` is missing"),
        (
            {"gdpo_reward_keys": ["correct", "style"]},
            r"no reward `style` \(it has: correct, data_source, tokens, uid\)",
        ),
        ({**CONFIG, "gdpo_reward_weights": [1.0]}, "has 1 entries for 2 rewards"),
        ({**CONFIG, "use_kl_in_reward": True}, "use_kl_loss"),
    ],
)
def test_what_does_not_fit_is_refused(core: ModuleType, config: dict[str, Any], message: str) -> None:
    verl.install()
    with pytest.raises(ConfigError, match=message):
        compute_advantage(core, batch(), "gdpo", config)


def test_without_the_vector_it_says_what_to_set(core: ModuleType) -> None:
    verl.install()
    data = batch()
    data.non_tensor_batch = {"uid": data.non_tensor_batch["uid"]}  # what the trainer v1 hands over
    with pytest.raises(ConfigError, match=r"trainer\.use_v1=False"):
        compute_advantage(core, data, "gdpo", CONFIG)


def test_without_verl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "verl", None)
    with pytest.raises(ImportError, match="`pip install verl`"):
        verl.install()


def test_a_verl_without_gdpo(core: Any) -> None:
    del core.ADV_ESTIMATOR_REGISTRY["gdpo"]
    with pytest.raises(ConfigError, match="no advantage estimator `gdpo`"):
        verl.install()
