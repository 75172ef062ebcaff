"""Gradients for the mixers' tests."""

import torch
from torch import Tensor


def random_gradients(batch: int, channels: int, size: int, seed: int) -> Tensor:
    return torch.randn((batch, channels, size), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gram_of(gradients: Tensor) -> Tensor:
    return gradients @ gradients.mT


def gains(weights: Tensor, gram: Tensor) -> Tensor:
    """Return each gradient's inner product with the step: what its channel gains."""
    return (gram @ weights.unsqueeze(-1)).squeeze(-1)


def equal(gram: Tensor) -> Tensor:
    """Return equal preferences."""
    return torch.full_like(gram[..., 0], 1 / gram.shape[-1])
