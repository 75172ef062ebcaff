"""State in and out: nested dicts of tensors and plain values, restored bit for bit, never unpickled.

A checkpoint is a directory: `tensors.safetensors`, `values.json` for everything else, and `manifest.json` with the
SHA-256 of both. It appears under its name only when it is complete.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from moalign.errors import ConfigError, RunError
from moalign.runs.atomic import whole_directory

TENSORS, VALUES, MANIFEST = "tensors.safetensors", "values.json", "manifest.json"


def flatten(state: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves of a nested dict by path; "/" separates, and is written ``~1`` inside a key (``~`` is ``~0``).

    >>> flatten({"update": {"m": 1, "reward/mean": {}}})
    {'update/m': 1, 'update/reward~1mean': {}}
    """
    leaves: dict[str, Any] = {}
    for key, value in state.items():
        if not isinstance(key, str):
            raise ConfigError(f"`state` has the key {key!r} under `{prefix}`; keys must be strings.")
        path = prefix + key.replace("~", "~0").replace("/", "~1")
        if isinstance(value, Mapping) and value:
            leaves |= flatten(value, path + "/")
        else:
            leaves[path] = value
    return leaves


def unflatten(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Undo `flatten`."""
    state: dict[str, Any] = {}
    for path, value in leaves.items():
        *above, last = [key.replace("~1", "/").replace("~0", "~") for key in path.split("/")]
        here = state
        for key in above:
            here = here.setdefault(key, {})
        here[last] = value
    return state


def write_state(directory: Path, step: int, state: Mapping[str, Any]) -> Path:
    """Write a checkpoint of `state` into `directory` under the name of `step`; return its path."""
    leaves = flatten(state)
    tensors = _storable({path: leaf for path, leaf in leaves.items() if isinstance(leaf, Tensor)})
    values = {path: _encode(leaf, path) for path, leaf in leaves.items() if not isinstance(leaf, Tensor)}
    target = directory / _name(step)
    with whole_directory(target, replace=True) as partial:  # of an earlier pass over the same steps
        safetensors.torch.save_file(tensors, partial / TENSORS)
        (partial / VALUES).write_text(json.dumps(values), encoding="utf-8")
        sums = {name: _sha256(partial / name) for name in (TENSORS, VALUES)}
        (partial / MANIFEST).write_text(json.dumps({"step": step, "sha256": sums}), encoding="utf-8")
    return target


def state_bytes(state: Mapping[str, Any]) -> int:
    """Return about how much room a checkpoint of `state` takes on disk.

    >>> import torch
    >>> state_bytes({"x": torch.zeros(1000), "members": ["m00"]})
    12407
    """
    leaves = flatten(state)
    sizes = [leaf.nbytes if isinstance(leaf, Tensor) else len(json.dumps(_encode(leaf, path)))
             for path, leaf in leaves.items()]  # fmt: skip
    return sum(sizes) + sum(map(len, leaves)) + 100 * len(leaves) + 8192  # headers, and the ends of three files


def read_state(directory: Path, step: int) -> dict[str, Any]:
    """Return the state saved at `step`, tensors on the CPU; `RunError` when it is damaged."""
    path = directory / _name(step)
    damage = check_state(directory, step)
    if damage is not None:
        raise RunError(f"checkpoint `{path}` is damaged ({damage}); delete it to resume from the one before.")
    values = {key: _decode(value) for key, value in json.loads((path / VALUES).read_text(encoding="utf-8")).items()}
    return unflatten(safetensors.torch.load_file(path / TENSORS) | values)


def check_state(directory: Path, step: int) -> str | None:
    """Return what is wrong with the checkpoint of `step`, or None when every byte is as it was written."""
    path = directory / _name(step)
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        if manifest["step"] != step:
            return f"it says it is of step {manifest['step']}"
        wrong = [name for name in (TENSORS, VALUES) if _sha256(path / name) != manifest["sha256"][name]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return f"{' and '.join(wrong)}: checksum differs" if wrong else None


def steps_saved(directory: Path) -> list[int]:
    """Return the steps that have a checkpoint, good or not, newest first."""
    names = (path.name for path in directory.glob("step-*"))
    return sorted((int(name[5:]) for name in names if name[5:].isdigit()), reverse=True)


def _name(step: int) -> str:
    return f"step-{step:06d}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _storable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors that share no memory and own all of theirs: safetensors refuses others."""
    seen: set[int] = set()
    out: dict[str, Tensor] = {}
    for path, tensor in tensors.items():
        cpu = tensor.detach().cpu().contiguous()
        storage = cpu.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != cpu.nbytes:
            cpu = cpu.clone()
        seen.add(storage.data_ptr())
        out[path] = cpu
    return out


def _encode(value: Any, path: str) -> Any:
    """Return a leaf as JSON; Python's JSON keeps every float's bits, NaN and infinities included."""
    if value is None or isinstance(value, bool | int | float | str) or value == {}:
        return value
    if isinstance(value, list):
        return [_encode(item, path) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [_encode(item, path) for item in value]}
    raise ConfigError(
        f"`state` holds a {type(value).__name__} at `{path}`; use tensors, numbers, text, or lists and tuples of these."
    )


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if isinstance(value, dict) and value:
        return tuple(_decode(item) for item in value["tuple"])
    return value
