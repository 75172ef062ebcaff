"""Supervised losses."""

from moalign.losses.supervised._nll import nll

__all__ = ["nll"]
