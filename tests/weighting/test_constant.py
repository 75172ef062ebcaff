import pytest
import torch

from moalign.errors import ConfigError
from moalign.weighting import Constant


def test_weights_are_the_preferences(declare, rows):
    state = Constant().init(torch.tensor([[0.5, 0.5], [3.0, 1.0]]), declare())
    weights, gain = Constant().weigh(state, rows)
    assert weights.shape == (2, 1, 1, 2)
    torch.testing.assert_close(weights[:, 0, 0], torch.tensor([[0.5, 0.5], [0.75, 0.25]]))  # 3 / (3 + 1)
    assert gain.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("bad", [[[-1.0, 2.0]], [[0.0, 0.0]], [[float("nan"), 1.0]]])
def test_refuses_what_is_no_preference(declare, bad):
    with pytest.raises(ConfigError, match="`preferences` must be non-negative with a positive sum"):
        Constant().init(torch.tensor(bad), declare())


def test_refuses_the_wrong_number_of_columns(declare):
    with pytest.raises(ConfigError, match=r"3 columns for 2 objectives \(a, b\)"):
        Constant().init(torch.ones(1, 3), declare())
