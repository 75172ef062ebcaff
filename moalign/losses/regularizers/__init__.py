"""Regularizers: terms that hold the policy near where the run began."""

from moalign.losses.regularizers._kl import KL, k1, k2, k3, k3_ratio

__all__ = ["KL", "k1", "k2", "k3", "k3_ratio"]
