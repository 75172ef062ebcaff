"""Whether the values that stand in a recipe's fields are of the kind that the fields declare."""

import dataclasses
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from numbers import Integral, Real
from typing import Any, SupportsFloat, Union, get_args, get_origin

from moalign.parts import Bound, PerMember, Same, Schedule, fields

METHODS = {  # what a part of this kind must have; any other kind is called
    "collapse": ("before", "after"),
    "controller": ("init", "weigh", "observe"),
    "credit": ("init", "__call__"),
    "rule": ("init", "__call__"),
    "update": ("init", "__call__", "passes"),
}

WORDS: dict[Any, str] = {
    float: "a number",
    SupportsFloat: "a number",
    int: "an integer",
    bool: "True or False",
    str: "text",
    None: "None",
    type(None): "None",
    Callable: "a part",
    Schedule: "a Schedule",
    PerMember: "PerMember",
    Same: "Same",
}


def misfits(root: Any, path: str = "recipe", declared: Any = Any) -> list[str]:
    """Return one sentence for each field below `root` whose value is not what the field declares.

    >>> from moalign.losses import KL
    >>> misfits(KL(estimator=3), "losses.kl")
    ['`losses.kl.estimator` must be a kl or the name of one, got 3.']
    """
    found = []
    for name, value, wanted, kind, default in _declared(root, declared):
        here = f"{path}.{name}"
        wrong = _wrong_part(value, kind, default) if kind is not None else _wrong_value(value, wanted)
        found += [f"`{here}` must be {wrong}, got {value!r:.80}."] if wrong else misfits(value, here, wanted)
    return found


def _declared(root: Any, declared: Any) -> Iterator[tuple[str, Any, Any, str | None, Any]]:
    """Yield name, value, declared type, kind of part and default of each field."""
    if isinstance(root, Bound | types.FunctionType):
        parameters = inspect.signature(root.fn if isinstance(root, Bound) else root).parameters
        for name, value in fields(root).items():
            if name in parameters:
                yield name, value, parameters[name].annotation, None, None
    elif dataclasses.is_dataclass(root) and not isinstance(root, type):
        for f in dataclasses.fields(root):
            yield f.name, getattr(root, f.name), f.type, f.metadata.get("kind"), f.default
    elif isinstance(root, Mapping):
        of_mappings = [kind for kind in _kinds(declared) if get_origin(kind) in (Mapping, dict)]
        each = get_args(of_mappings[0])[-1] if of_mappings else Any
        for name, value in root.items():
            yield str(name), value, each, None, None


def _wrong_part(value: Any, kind: str, default: Any) -> str | None:
    if value is None and default is None:
        return None
    methods = METHODS.get(kind, ("__call__",))
    if all(callable(value) if name == "__call__" else hasattr(value, name) for name in methods):
        return None
    return f"a {kind} or the name of one"


def _wrong_value(value: Any, declared: Any) -> str | None:
    """Return what a plain field wants, or None where the value will do or the declaration says nothing simple."""
    if isinstance(value, Schedule | PerMember | Same):  # where these may stand is another question
        return None
    wanted = [_words(kind) for kind in _kinds(declared) if not _accepts(kind, value)]
    if not wanted or len(wanted) < len(_kinds(declared)):
        return None
    return " or ".join(dict.fromkeys(wanted))


def _kinds(declared: Any) -> list[Any]:
    if isinstance(declared, types.UnionType) or get_origin(declared) is Union:
        return [kind for each in get_args(declared) for kind in _kinds(each)]
    return [declared]


def _accepts(kind: Any, value: Any) -> bool:
    if kind is SupportsFloat:
        return isinstance(value, SupportsFloat) and not isinstance(value, bool)
    if kind is float or kind is int:
        return isinstance(value, Real if kind is float else Integral) and not isinstance(value, bool)
    if kind is None or kind is type(None):
        return value is None
    if hasattr(kind, "array_type"):
        return not isinstance(value, str | int | float | list | dict | None)
    try:
        return isinstance(value, get_origin(kind) or kind)
    except TypeError:
        return True  # it says nothing that could be checked here


def _words(kind: Any) -> str:
    kind = get_origin(kind) or kind
    return WORDS.get(kind, getattr(kind, "__name__", str(kind)))
