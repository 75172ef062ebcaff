"""Parts: values with checked options, found by name, addressed by dotted path, recorded as JSON.

A part is a frozen dataclass, or a function bound to options with `bind`. Both have *fields*: a dataclass its
own, a bound function its keyword-only options, a tuple of named things its names. Paths walk fields.
"""

import dataclasses
import functools
import hashlib
import importlib
import inspect
import json
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, SupportsFloat, TypeVar, get_args

from moalign.errors import ConfigError, UnknownNameError, nearest

P = TypeVar("P", bound=Callable[..., Any])


@dataclass(frozen=True)
class Method:
    """One registered part: its kind and name, its paper (a key of the bibliography) and the test that pins it."""

    kind: str
    name: str
    part: Callable[..., Any]
    paper: str | None
    test: str


REGISTRY: dict[tuple[str, str], Method] = {}


def register(
    kind: str, name: str, *, test: str, paper: str | None = None, needs: Iterable[Any] = ()
) -> Callable[[P], P]:
    """Make a class or function findable as `name` among the parts of its `kind`.

    `test` is the pinning test as ``tests/path.py::test_name``; `paper` a key of ``bibliography.json``; `needs` what
    the part reads from a forward pass (`moalign.records.Need`). A name is unique per kind: `ConfigError` otherwise.
    Names are listed with hyphens; underscores mean the same.
    """
    name = canonical(name)

    def wrap(part: P) -> P:
        known = REGISTRY.get((kind, name))
        if known is not None and _address(known.part) != _address(part):
            raise ConfigError(f"`{name}` is already a registered {kind} ({_address(known.part)}); choose another name.")
        if paper is not None and paper not in bibliography():
            raise ConfigError(f"`paper={paper!r}` of {kind} `{name}` is not in bibliography.json.")
        REGISTRY[kind, name] = Method(kind, name, part, paper, test)
        setattr(part, "part_name", name)  # noqa: B010 - functions take attributes, their types do not say so
        setattr(part, "part_needs", frozenset(needs))  # noqa: B010
        return part

    return wrap


def canonical(name: str) -> str:
    """Return a part's name as it is listed.

    >>> canonical("token_mean")
    'token-mean'
    """
    return name.replace("_", "-")


@functools.cache
def bibliography() -> dict[str, dict[str, Any]]:
    """Return the one list of papers: key to title, authors, year and arXiv id."""
    return json.loads((Path(__file__).parent / "bibliography.json").read_text(encoding="utf-8"))


def named(kind: str) -> dict[str, Method]:
    """Return the registered parts of one kind by name."""
    return {method.name: method for (k, _), method in sorted(REGISTRY.items()) if k == kind}


def build(kind: str, name: str, **options: Any) -> Any:
    """Return the part of that kind and name (or at ``package.module:attribute``) with these options set."""
    if ":" in name:
        return _with_options(imported(name), options)
    known = named(kind)
    if canonical(name) not in known:
        raise UnknownNameError(f"no {kind} is called `{name}`{nearest(canonical(name), known)}")
    return _with_options(known[canonical(name)].part, options)


def imported(address: str) -> Any:
    """Return what ``package.module:attribute`` names."""
    module, _, attribute = address.partition(":")
    try:
        return functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise UnknownNameError(f"`{address}` cannot be imported: {error}") from error


def _with_options(part: Any, options: Mapping[str, Any]) -> Any:
    if isinstance(part, type):
        check_names(options, [f.name for f in dataclasses.fields(part)], part.__name__)
        return part(**options)
    if callable(part) and not dataclasses.is_dataclass(part):
        return bind(part, **options)
    return dataclasses.replace(part, **options) if options else part  # pyright: ignore[reportArgumentType]


def check_names(options: Iterable[str], known: Iterable[str], owner: str) -> None:
    """Raise `UnknownNameError` for the first of `options` that `owner` does not have, with the nearest names."""
    known = list(known)
    for name in options:
        if name not in known:
            raise UnknownNameError(f"`{owner}` has no option `{name}`{nearest(name, known)}")


@dataclass(frozen=True)
class Bound:
    """A function with some of its keyword-only options set; made by `bind`, called like the function."""

    fn: Callable[..., Any]
    options: tuple[tuple[str, Any], ...] = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(*args, **{**dict(self.options), **kwargs})


def bind(fn: Callable[..., Any], **options: Any) -> Bound:
    """Set options of a function as a value that compares equal, and check their names now.

    >>> def dpo(margin, *, beta=0.1): return beta * margin
    >>> bind(dpo, beta=0.5)(2.0), bind(dpo, beta=0.5) == bind(dpo, beta=0.5)
    (1.0, True)
    >>> bind(dpo, bta=0.5)
    Traceback (most recent call last):
    moalign.errors.UnknownNameError: `dpo` has no option `bta`; did you mean beta?
    """
    if isinstance(fn, Bound):
        return bind(fn.fn, **{**dict(fn.options), **options})
    check_names(options, _keyword_only(fn), getattr(fn, "__name__", str(fn)))
    return Bound(fn, tuple(sorted(options.items())))


@functools.cache
def _keyword_only(fn: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(fn).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def fields(value: Any) -> dict[str, Any]:
    """Return the fields of a part: what a path may name next."""
    if isinstance(value, Bound):
        given = {n: d for n, d in _keyword_only(value.fn).items() if d is not inspect.Parameter.empty}
        return {**given, **dict(value.options)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, types.FunctionType):
        return {n: d for n, d in _keyword_only(value).items() if d is not inspect.Parameter.empty}
    if isinstance(value, tuple) and value and all(isinstance(getattr(v, "name", None), str) for v in value):
        return {v.name: v for v in value}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return dict(value)
    return {}


def may_move(owner: Any, name: str) -> bool:
    """Return whether a field may be scheduled or set per member: it is declared a `Knob`, or as a tensor."""
    if isinstance(owner, Bound | types.FunctionType):
        fn = owner.fn if isinstance(owner, Bound) else owner
        declared = inspect.signature(fn).parameters[name].annotation
    elif dataclasses.is_dataclass(owner):
        declared = next(f.type for f in dataclasses.fields(owner) if f.name == name)
    else:
        return False
    return any(kind is Schedule or hasattr(kind, "array_type") for kind in get_args(declared))


def walk(root: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every (dotted path, value) below `root`, parents before children."""
    for name, value in fields(root).items():
        path = f"{prefix}{name}"
        yield path, value
        yield from walk(value, f"{path}.")


def find(root: Any, path: str) -> str:
    """Return the full path that `path` means: a name may skip levels where only one place has it.

    Raises `UnknownNameError` when nothing has the name, `ConfigError` when several places have it.
    """
    full: list[str] = []
    value = root
    for name in path.split("."):
        here = fields(value)
        if name not in here:
            deeper = [p for p, _ in walk(value) if p.split(".")[-1] == name]
            if not deeper:
                below = {p.split(".")[-1] for p, _ in walk(value)}
                hints = [nearest(name, here), nearest(name, below)]  # names may skip levels, so their hints may too
                hint = next((h for h in hints if "did you mean" in h), hints[0])
                raise UnknownNameError(f"`{path}`: nothing is called `{name}` here{hint}")
            if len(deeper) > 1:
                raise ConfigError(f"`{path}`: `{name}` could be {', '.join(deeper)}; write one of these in full.")
            name = deeper[0]
        full.append(name)
        value = functools.reduce(lambda v, n: fields(v)[n], name.split("."), value)
    return ".".join(full)


def get(root: Any, path: str) -> Any:
    """Return the value at a dotted path."""
    return functools.reduce(lambda value, name: fields(value)[name], find(root, path).split("."), root)


def put(root: Any, path: str, value: Any) -> Any:
    """Return `root` with the value at a dotted path replaced; a name given for a part is looked up in its kind."""
    return _put(root, find(root, path).split("."), value)


def _put(root: Any, path: list[str], value: Any) -> Any:
    head, rest = path[0], path[1:]
    new = _put(fields(root)[head], rest, value) if rest else value
    if isinstance(root, Bound):
        return bind(root, **{head: new})
    if isinstance(root, types.FunctionType):
        return bind(root, **{head: new})
    if isinstance(root, Mapping):
        return {**root, head: new}
    if isinstance(root, tuple):
        return tuple(new if item.name == head else item for item in root)
    kind = next(f.metadata.get("kind") for f in dataclasses.fields(root) if f.name == head)
    if kind is not None and isinstance(new, str):
        new = build(kind, new)
    return dataclasses.replace(root, **{head: new})


def part(kind: str, default: Any) -> Any:
    """Declare a dataclass field that holds a part of this kind; a name is accepted and looked up."""
    return field(default=default, metadata={"kind": kind})


def look_up_names(owner: Any) -> None:
    """Replace names and bare functions by parts in a frozen dataclass's `part` fields; call it in ``__post_init__``."""
    for f in dataclasses.fields(owner):
        value = getattr(owner, f.name)
        if "kind" in f.metadata and isinstance(value, str):
            object.__setattr__(owner, f.name, build(f.metadata["kind"], value))
        elif "kind" in f.metadata and isinstance(value, types.FunctionType):
            object.__setattr__(owner, f.name, bind(value))  # so that a function and its name are one value


def needs_of(value: Any) -> frozenset[Any]:
    """Return what a part and all parts below it read from a forward pass.

    A part whose needs depend on its options says so in a property `needs`, which is then the whole answer.
    """
    if isinstance(getattr(type(value), "needs", None), property):
        return value.needs
    own = getattr(value.fn if isinstance(value, Bound) else value, "part_needs", frozenset())
    below = list(fields(value).values())
    return own.union(*(needs_of(v) for v in below)) if below else own


def _address(obj: Any) -> str:
    return f"{getattr(obj, '__module__', '?')}:{getattr(obj, '__qualname__', type(obj).__qualname__)}"


def spec(value: Any) -> Any:
    """Return a JSON record of a value: enough to compare and to read, never executed."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): spec(item) for key, item in value.items()}
    if isinstance(value, tuple | list | set | frozenset):
        return [spec(item) for item in value]
    if isinstance(value, Bound):
        return {"part": getattr(value.fn, "part_name", _address(value.fn))} | spec(fields(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"part": getattr(value, "part_name", _address(type(value)))} | spec(fields(value))
    if callable(value):
        try:
            source = inspect.getsource(value)
        except (OSError, TypeError):
            source = repr(type(value))
        return {"call": _address(value), "sha256": hashlib.sha256(source.encode()).hexdigest()[:12]}
    return {"object": _address(type(value))}


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Return one line for each place where two records differ.

    >>> differences({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}})
    ['b.c: 2 -> 3']
    """
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [line for k in keys for line in differences(old.get(k), new.get(k), f"{path}.{k}" if path else k)]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [line for i, (a, b) in enumerate(zip(old, new)) for line in differences(a, b, f"{path}.{i}")]
    return [] if old == new else [f"{path}: {_short(old)} -> {_short(new)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


# --- numbers that may move ---------------------------------------------------------------------------------------


class Schedule:
    """A number that depends on training progress in [0, 1]; subclasses define `at`."""

    def at(self, progress: float) -> float:
        raise TypeError(f"{type(self).__name__} must define `at(progress)`.")


@dataclass(frozen=True)
class Linear(Schedule):
    """Move from `start` to `end` along a straight line, after holding at zero-to-`start` for `warmup` of the run.

    >>> Linear(1.0, 0.0).at(0.25), Linear(1.0, 1.0, warmup=0.5).at(0.25)
    (0.75, 0.5)
    """

    start: float
    end: float
    warmup: float = 0.0

    def at(self, progress: float) -> float:
        if progress < self.warmup:
            return self.start * progress / self.warmup
        return self.start + (self.end - self.start) * (progress - self.warmup) / (1.0 - self.warmup)


@dataclass(frozen=True)
class After(Schedule):
    """Be 0 until a `share` of the run is over, and `value` from there on; any share above 0 holds for the first step.

    >>> After(0.1).at(0.05), After(0.1).at(0.1)
    (0.0, 1.0)
    """

    share: float
    value: float = 1.0

    def at(self, progress: float) -> float:
        return 0.0 if progress < self.share else self.value


@dataclass(frozen=True)
class PerMember:
    """One value for each member, in the members' order at the start of the run."""

    values: tuple[float, ...]

    def __init__(self, values: Iterable[float]):
        object.__setattr__(self, "values", tuple(float(v) for v in values))


@dataclass(frozen=True)
class Same:
    """The value at another `path` of the same recipe, so that one setting is written once and both follow it."""

    path: str


Knob = SupportsFloat | Schedule | PerMember | Same
"""A number that may be scheduled or set per member; a part that declares one gets a float or a ``[member]`` tensor."""
