"""Value losses."""

from moalign.losses.value._mse import value_mse

__all__ = ["value_mse"]
