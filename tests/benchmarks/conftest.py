"""Benchmarks are run from the project's root: append it, so that nothing in it shadows anything."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))
