"""Room on the disk."""

import shutil
from pathlib import Path

import pytest

from moalign.errors import RunError
from moalign.runs.space import free_bytes, require_room, used_bytes


def test_what_is_there_already_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "runs" / "a"
    asked: list[Path] = []

    def usage(path: Path) -> object:
        asked.append(Path(path))
        return shutil._ntuple_diskusage(0, 0, 3 * 2**20)  # type: ignore[attr-defined]

    monkeypatch.setattr(shutil, "disk_usage", usage)
    assert free_bytes(run) == 3 * 2**20 and asked == [tmp_path]  # where it would be made
    with pytest.raises(RunError, match=r"a` needs about 4 MiB more and the disk has 3 MiB free: buy one\."):
        require_room(run, 4 * 2**20, "buy one.")
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "x").write_bytes(bytes(2**20))
    assert used_bytes(run) == 2**20
    require_room(run, 4 * 2**20, "buy one.")
