"""The archive holds what one pass over all points would keep."""

import pytest
import torch
from torch.testing import assert_close

from moalign.errors import ConfigError
from moalign.optimizers.archive import ParetoArchive
from moalign.optimizers.dominance import non_dominated
from moalign.optimizers.hypervolume import hypervolume


def test_batches_amount_to_one_pass() -> None:
    points = torch.rand((40, 3), generator=torch.Generator().manual_seed(0))
    archive, volumes = ParetoArchive(torch.zeros(3)), []
    for start in range(0, 40, 8):
        archive.add(points[start : start + 8], range(start, start + 8))
        volumes.append(archive.hypervolume)
    keep = non_dominated(points)
    assert archive.ids == tuple(i for i in range(40) if keep[i])
    assert_close(archive.values, points[keep])
    assert archive.hypervolume == pytest.approx(hypervolume(points, torch.zeros(3)))
    assert volumes == sorted(volumes) and len(archive) == int(keep.sum())


def test_add_tells_who_is_in_and_the_first_of_equals_stays() -> None:
    archive = ParetoArchive(torch.zeros(2))
    assert len(archive) == 0 and archive.hypervolume == 0.0
    assert archive.add(torch.tensor([[1.0, 1.0], [2.0, 0.5]]), ["a", "b"]).tolist() == [True, True]
    assert archive.add(torch.tensor([[1.0, 1.0], [1.0, 2.0], [0.1, 0.1]]), ["c", "d", "e"]).tolist() == [
        False,
        True,
        False,
    ]
    assert archive.ids == ("b", "d")  # a is dominated by d
    assert archive.hypervolume == pytest.approx(2 * 0.5 + 1 * (2 - 0.5))


def test_refusals() -> None:
    archive = ParetoArchive(torch.zeros(2))
    with pytest.raises(ConfigError, match="`ids` has 1 entries for 2 points"):
        archive.add(torch.zeros(2, 2), ["a"])
    with pytest.raises(ConfigError, match="`values` has 3 objectives and the archive 2"):
        archive.add(torch.zeros(1, 3), ["a"])
    with pytest.raises(ConfigError, match="`reference` must be finite"):
        ParetoArchive(torch.tensor([torch.nan, 0.0]))
