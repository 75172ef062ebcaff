"""Studies side by side share the GPUs: each process sees one of them."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from moalign.cli._together import Children, _gpus


@pytest.mark.parametrize(
    ("visible", "names"), [(None, ["0", "1"]), ("3,5", ["3", "5"]), ("GPU-a,GPU-b", ["GPU-a", "GPU-b"])]
)
def test_gpus_go_by_the_names_that_children_understand(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, names: list[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert _gpus() == names


def test_every_slot_stands_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    class Told(subprocess.Popen[str]):
        def __init__(self, *_: Any, env: dict[str, str], **options: Any):
            seen.append(env.get("CUDA_VISIBLE_DEVICES"))

        def __del__(self) -> None:
            pass

    monkeypatch.setattr(subprocess, "Popen", Told)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    children = Children(Path("studies.py"), [], 3, ["0", "1"])
    for name in "abc":
        children._start(name, children.slots.get())
    children._start("d", None)
    assert seen == ["0", "1", "0", None]
