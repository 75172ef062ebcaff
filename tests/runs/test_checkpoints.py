"""Checkpoints: bit for bit, never half there, never unpickled."""

import logging
import os
import shutil
import subprocess
import sys

import pytest
import torch

from moalign.errors import ConfigError, RunError
from moalign.runs import RunDirectory, directory
from moalign.runs.atomic import whole_directory
from moalign.runs.checkpoints import state_bytes
from moalign.runs.space import used_bytes


def state() -> dict:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(3, 4, generator=generator)
    return {
        "update": {
            "m": base,
            "bf16": base.bfloat16(),
            "double": base.double() / 3,
            "view": base[1],
            "transposed": base.T,
            "again": base,
            "scalar": torch.tensor(float("nan")),
            "empty": torch.zeros(0, 2),
        },
        "rewards/mean~": {"x": 0.1 + 0.2, "inf": float("-inf"), "n": 2**70, "none": None, "ok": True, "text": "ü/~"},
        "credit": {},
        "members": ("m00", ("m01", [1, 2.5])),
        "generator": generator.get_state(),
        "step": 3,
    }


def assert_same(a: object, b: object) -> None:
    assert type(a) is type(b)
    if isinstance(a, dict) and isinstance(b, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert torch.equal(a.contiguous().flatten().view(torch.uint8), b.contiguous().flatten().view(torch.uint8))
    else:
        assert a == b


def test_state_is_restored_bit_for_bit(tmp_path):
    run = RunDirectory(tmp_path)
    assert run.latest_checkpoint() is None
    path = run.save_state(20, state())
    assert path == tmp_path / "checkpoints" / "step-000020"
    assert run.latest_checkpoint() == 20
    assert_same(run.load_state(20), state())


def test_saving_the_same_step_again_replaces_it(tmp_path):
    run = RunDirectory(tmp_path)
    run.save_state(5, {"x": torch.zeros(2)})
    run.save_state(5, {"x": torch.ones(2)})
    assert run.load_state(5)["x"].tolist() == [1, 1]
    assert os.listdir(run.checkpoints) == ["step-000005"]


@pytest.mark.parametrize("file", ["tensors.safetensors", "values.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "delete"])
def test_damage_is_skipped_and_said(tmp_path, caplog, file, damage):
    run = RunDirectory(tmp_path)
    for step in (10, 20):
        run.save_state(step, state())
    path = run.checkpoints / "step-000020" / file
    data = bytearray(path.read_bytes())
    if damage == "delete":
        path.unlink()
    else:
        at = data.index(b"20") if file == "manifest.json" else len(data) // 2
        data[at] ^= 1
        path.write_bytes(data if damage == "flip" else data[: len(data) // 2])
    with caplog.at_level(logging.WARNING):
        assert run.latest_checkpoint() == 10
    assert "skipping the damaged checkpoint of step 20" in caplog.text
    with pytest.raises(RunError, match=r"step-000020` is damaged"):
        run.load_state(20)
    run.prune(1)
    assert run.latest_checkpoint() == 10  # the damaged one does not count as the one to keep
    assert os.listdir(run.checkpoints) == ["step-000010"]


def test_when_none_is_good_it_is_said_that_training_starts_again(tmp_path, caplog):
    run = RunDirectory(tmp_path)
    run.save_state(10, state())
    (run.checkpoints / "step-000010" / "values.json").unlink()
    with caplog.at_level(logging.WARNING):
        assert run.latest_checkpoint() is None
    assert "no checkpoint" in caplog.text and "training starts from its beginning" in caplog.text


@pytest.mark.parametrize("replace", [False, True])
def test_a_directory_appears_whole_or_not_at_all(tmp_path, replace):
    path = tmp_path / "folder" / "out"
    with pytest.raises(KeyboardInterrupt), whole_directory(path) as partial:
        (partial / "config.json").write_text("{}")
        raise KeyboardInterrupt
    assert os.listdir(path.parent) == []
    with whole_directory(path) as partial:
        (partial / "config.json").write_text("{}")
        assert not path.exists()
    if replace:
        with whole_directory(path, replace=True) as partial:
            (partial / "other").write_text("")
        assert os.listdir(path) == ["other"]
    else:
        with pytest.raises(RunError, match="Directory not empty"), whole_directory(path) as partial:
            (partial / "other").write_text("")
        assert os.listdir(path) == ["config.json"]  # what was there is never lost
    assert os.listdir(path.parent) == ["out"]


@pytest.mark.parametrize("short", [0, 1])
def test_room_is_compared_with_what_a_checkpoint_takes(tmp_path, monkeypatch, short):
    run = RunDirectory(tmp_path)
    saved = {"x": torch.zeros(100_000), "names": ["m00"], "empty": {}}
    path = run.save_state(1, saved)
    size = used_bytes(path)
    assert size <= state_bytes(saved) <= size + 10_000  # an estimate from above
    usage = shutil.disk_usage(tmp_path)._replace(free=state_bytes(saved) - short)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    lack = run.lacks_room(saved)
    assert lack == (None if not short else "a checkpoint takes 0.4 MiB and the disk has 0.4 MiB free")


def test_prune(tmp_path):
    run = RunDirectory(tmp_path)
    for step in (1, 2, 3, 10):
        run.save_state(step, {"x": step})
    run.prune(2)
    assert sorted(os.listdir(run.checkpoints)) == ["step-000003", "step-000010"]
    with pytest.raises(ConfigError, match="`keep` is 0"):
        run.prune(0)


def test_what_was_read_through_is_not_read_through_again(tmp_path, monkeypatch):
    first = RunDirectory(tmp_path)
    first.save_state(1, {"x": 1})
    run, read = RunDirectory(tmp_path), []
    check = directory.check_state
    monkeypatch.setattr(directory, "check_state", lambda path, step: read.append(step) or check(path, step))
    for step in (2, 3):
        run.save_state(step, {"x": step})
        run.prune(3)
    assert read == [1]


def test_what_a_kill_leaves_is_not_a_checkpoint_and_is_cleared(tmp_path):
    with RunDirectory(tmp_path) as run:
        run.create({})
        run.save_state(1, {"x": 1})
        (run.checkpoints / ".step-000002.writing").mkdir()
        assert run.latest_checkpoint() == 1
    with RunDirectory(tmp_path) as run:
        run.create({})
        assert os.listdir(run.checkpoints) == ["step-000001"]


def test_what_cannot_be_stored_is_named(tmp_path):
    run = RunDirectory(tmp_path)
    with pytest.raises(ConfigError, match="holds a set at `a/b`"):
        run.save_state(1, {"a": {"b": {1}}})
    with pytest.raises(ConfigError, match="key 3 under `a/`"):
        run.save_state(1, {"a": {3: 1}})


FULL = """
import resource, sys, torch
from moalign.errors import RunError
from moalign.runs import RunDirectory
run = RunDirectory(sys.argv[1])
run.save_state(1, {"x": torch.arange(4.0)})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for attempt in (
    lambda: run.save_state(2, {"x": torch.zeros(100_000)}),
    lambda: run.save_state(2, {"x": "y" * 200_000}),
    lambda: [run.append_metrics({"step": i, "text": "y" * 30_000}) for i in range(9)],
    lambda: run.set_status("y" * 200_000),
):
    try:
        attempt()
    except RunError as error:
        print(error)
print(run.latest_checkpoint(), run.load_state(1)["x"].tolist(), [r["step"] for r in run.read_metrics()])
"""


def test_full_disk(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True)
    *errors, last = done.stdout.splitlines()
    assert len(errors) == 4
    for error, name in zip(errors, ["step-000002", "step-000002", "metrics.jsonl", "status.json"]):
        assert error.startswith(f"cannot write `{tmp_path}") and f"{name}`: " in error
        assert "File too large" in error and "the last checkpoint" in error
    assert last == "1 [0.0, 1.0, 2.0, 3.0] [0, 1, 2]"  # three lines of 30 kB fit into 100 kB
    assert sorted(os.listdir(tmp_path)) == ["checkpoints", "metrics.jsonl"]
    assert os.listdir(tmp_path / "checkpoints") == ["step-000001"]
