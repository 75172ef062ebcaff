"""Room on the disk: how much there is, and the error that says it is too little."""

import os
import shutil
from pathlib import Path

from moalign.errors import RunError


def free_bytes(path: Path) -> int:
    """Return what may still be written where `path` is, or where it would be made."""
    place = path.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def used_bytes(path: Path) -> int:
    """Return what the files below a directory hold; 0 where there is none."""
    found = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                found += os.lstat(os.path.join(folder, name)).st_size
            except FileNotFoundError:  # another process may be writing there
                continue
    return found


def require_room(path: Path, size: int, way_out: str) -> None:
    """Raise `RunError` when a run of `size` bytes in all does not fit at `path`, where some of it may be already."""
    left, free = max(size - used_bytes(path), 0), free_bytes(path)
    if left > free:
        raise RunError(f"`{path}` needs about {mib(left)} more and the disk has {mib(free)} free: {way_out}")


def mib(size: int) -> str:
    """Return a size in words.

    >>> mib(3 * 2**20), mib(100_000), mib(5 * 2**40)
    ('3 MiB', '0.1 MiB', '5,242,880 MiB')
    """
    return f"{size / 2**20:,.1f} MiB".replace(".0 ", " ")
