"""Shapes are checked in every test: jaxtyping with beartype, installed before moalign is imported."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from jaxtyping import install_import_hook

install_import_hook("moalign", "beartype.beartype")

collect_ignore = ["optimizers", "tests/decoys"]
