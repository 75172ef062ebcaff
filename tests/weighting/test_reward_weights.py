import torch
from pytest import raises

from moalign.errors import ConfigError
from moalign.records import Rows, Setting
from moalign.weighting.reward_weights import RewardWeights

NAN = torch.full((3,), torch.nan)
SETTING = Setting(names=("a", "b", "c"), ideal=NAN, nadir=NAN, reference=NAN, thresholds=NAN)


def test_taken_as_given(rows: Rows) -> None:
    state = RewardWeights(weights={"c": 2.0, "a": -0.5}).init(torch.eye(3)[:2], SETTING)
    weights, gain = RewardWeights().weigh(state, rows)
    assert weights[:, 0, 0].tolist() == [[-0.5, 1.0, 2.0]] * 2
    assert gain.tolist() == [1.0, 1.0]


def test_unknown_name() -> None:
    with raises(ConfigError, match="did you mean a"):
        RewardWeights(weights={"aa": 1.0}).init(torch.eye(3), SETTING)
