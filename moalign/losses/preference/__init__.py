"""Preference losses: pure links of a margin, and the loss that computes the margin once for all of them."""

from moalign.losses.preference._links import dpo, ipo
from moalign.losses.preference._loss import PreferenceLoss
from moalign.losses.preference._mixture import mixture
from moalign.losses.preference._modpo import MODPO
from moalign.losses.preference._scores import averaged, summed

__all__ = ["MODPO", "PreferenceLoss", "averaged", "dpo", "ipo", "mixture", "summed"]
