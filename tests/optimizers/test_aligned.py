"""Aligned-MTL: what alignment means, and torchjd."""

import pytest
import torch
from torch.testing import assert_close

from moalign.optimizers.gradients import aligned_mtl
from tests.optimizers.conftest import equal, gram_of, random_gradients


@pytest.mark.parametrize("channels", [2, 3, 8])
def test_aligned_gradients_are_orthogonal_and_equally_long(channels: int) -> None:
    gram = gram_of(random_gradients(4, channels, 20, seed=channels))
    one = torch.eye(channels, dtype=torch.float64)
    aligned = torch.stack([aligned_mtl(gram, one[k].expand(4, -1) + 1e-300) for k in range(channels)], dim=1)
    products = aligned @ gram @ aligned.mT
    least = torch.linalg.eigvalsh(gram)[:, :1]
    assert_close(products, least.unsqueeze(-1) * one)


def test_worked_values() -> None:
    # lengths 1 and 4 along the axes: the longer one is shortened to 1
    g = torch.tensor([[1.0, 0.0], [0.0, 4.0]])
    assert_close(aligned_mtl(gram_of(g), torch.tensor([0.2, 0.8])), torch.tensor([0.2, 0.8 / 4]))


@pytest.mark.parametrize(("channels", "size"), [(2, 10), (4, 30), (8, 30), (5, 3)])
def test_agrees_with_torchjd(channels: int, size: int) -> None:
    from torchjd.aggregation import AlignedMTLWeighting

    for gram in gram_of(random_gradients(5, channels, size, seed=channels)):
        assert_close(aligned_mtl(gram, equal(gram)), AlignedMTLWeighting()(gram), atol=1e-8, rtol=1e-8)
    wish = torch.arange(1.0, channels + 1, dtype=torch.float64)
    gram = gram_of(random_gradients(1, channels, size, seed=0))[0]
    assert_close(aligned_mtl(gram, wish), AlignedMTLWeighting(wish)(gram), atol=1e-8, rtol=1e-8)
