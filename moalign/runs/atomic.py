"""Write a file whole or not at all."""

import contextlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from moalign.errors import RunError

WRITING = ".writing"  # ends the name of a file that is not whole yet
RESUME = (
    "The file is as it was before, and so is the last checkpoint: make room (or fix the permissions) and run again to "
    "resume from it."
)
AGAIN = "Nothing of it is there: make room (or fix the permissions) and try again."


@contextlib.contextmanager
def saying(path: Path, rest: str = RESUME) -> Iterator[None]:
    """Turn a failure to write `path` into a `RunError` that says what is lost and what is not."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunError(f"cannot write `{path}`: {reason}. {rest}") from error


def write_bytes(path: Path, data: bytes) -> None:
    """Replace the file by `data`: a reader, or a kill at any moment, finds the old or the new one, never a part."""
    with saying(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=WRITING)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)  # mkstemp makes it private
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        sync(path.parent)


@contextlib.contextmanager
def whole_directory(path: Path, *, replace: bool = False, rest: str = RESUME) -> Iterator[Path]:
    """Give a directory to fill, which becomes `path` when all went well; an error or a kill leaves nothing there.

    Only with `replace` may `path` hold something, which then goes. What a kill leaves is called ``.<name>.writing``
    and stands beside it; the next try clears it away.
    """
    path = path.absolute()
    partial, aside = (path.with_name(f".{path.name}{end}{WRITING}") for end in ("", ".old"))
    with saying(path, rest):
        for left in (partial, aside):
            shutil.rmtree(left, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            try:
                yield partial
            except SafetensorError as error:  # its I/O errors are not OSErrors
                raise OSError(str(error)) from error
            for written in [*partial.rglob("*"), partial]:
                sync(written)
            if replace and path.exists():
                os.replace(path, aside)
            os.replace(partial, path)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        shutil.rmtree(aside, ignore_errors=True)
        sync(path.parent)


def sync(path: Path) -> None:
    """Make a file's bytes, or renames inside a directory, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Replace the file by `value` as JSON that any reader accepts (see `plain`)."""
    write_bytes(path, (json.dumps(plain(value), indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Return what a JSON file holds; `RunError` when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"`{path}` does not exist; is `{path.parent}` the directory of a run?") from error
    except (OSError, ValueError) as error:
        raise RunError(f"`{path}` cannot be read: {error}") from error


def plain(value: Any) -> Any:
    """Return `value` as strict JSON: tensors and arrays as lists, paths as text, non-finite numbers as null.

    >>> plain({"a": (1, float("nan")), "b": Path("x")})
    {'a': [1, None], 'b': 'x'}
    """
    if hasattr(value, "tolist"):  # tensors, arrays, NumPy's scalars
        value = value.tolist()
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)
