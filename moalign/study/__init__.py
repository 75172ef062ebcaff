"""Studies: what to train, checked before and run to a front; and runs read back from disk."""

from moalign.study._load import Run, load
from moalign.study._study import Study

__all__ = ["Run", "Study", "load"]
