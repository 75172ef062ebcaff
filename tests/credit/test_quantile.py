import pytest
import torch
from torch.testing import assert_close

from moalign.credit import Quantile
from moalign.errors import ConfigError


def fit(values: list[float], mask: list[bool] | None = None, normalizer: Quantile | None = None):
    x = torch.tensor(values).view(1, 1, -1, 1)
    known = torch.ones_like(x, dtype=torch.bool) if mask is None else torch.tensor(mask).view(x.shape)
    affine, _ = (normalizer or Quantile())(x, known, {})
    return affine.shift.item(), affine.scale.item()


def test_by_hand() -> None:
    # 0 1 2 3 4: median 2, quartiles 1 and 3
    assert fit([0.0, 1.0, 2.0, 3.0, 4.0]) == (2.0, 2.0)
    assert fit([0.0, 1.0, 2.0, 3.0, 1e6]) == (2.0, 2.0)  # however far one of them lies
    assert fit([0.0, 1.0, 2.0, 3.0, 4.0], normalizer=Quantile(0.0, 1.0)) == (2.0, 4.0)
    assert fit([0.0, 1.0, 2.0, 3.0, 4.0, 1e6, -7.0], [True] * 5 + [False] * 2) == (2.0, 2.0)


def test_where_the_quantiles_meet_the_range_is_the_scale() -> None:
    assert fit([1.0] * 9 + [0.0]) == (1.0, 1.0)
    assert fit([3.0] * 9 + [0.0]) == (3.0, 3.0)
    assert fit([0.1] * 5) == (pytest.approx(0.1), 1.0)  # no range: only shifted


def test_equals_quantiles_of_every_member_by_itself() -> None:
    generator = torch.Generator().manual_seed(0)
    x, mask = torch.randn(3, 4, 5, 2, generator=generator), torch.rand(3, 4, 5, 2, generator=generator) < 0.8
    affine, _ = Quantile(0.1, 0.8)(x, mask, {})
    for m in range(3):
        for k in range(2):
            known = x[m, ..., k][mask[m, ..., k]]
            assert_close(affine.shift[m, 0, 0, k], known.median() if len(known) % 2 else known.quantile(0.5))
            assert_close(affine.scale[m, 0, 0, k], known.quantile(0.8) - known.quantile(0.1))


def test_levels_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"0 <= low < high <= 1, got 0\.5, 0\.5"):
        Quantile(0.5, 0.5)
