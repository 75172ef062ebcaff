"""Parts from the record that a run keeps of them: by registered name, with their options; nothing else is executed."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import moalign.recipes  # noqa: F401 - registers every part
from moalign.errors import ConfigError, UnknownNameError
from moalign.objectives import Objective
from moalign.parts import REGISTRY, bind, canonical, imported, named

OWN = "moalign."  # where what is no registered part, such as a schedule, may come from


def from_record(record: Any, kind: str | None = None) -> Any:
    """Return the value that `moalign.parts.spec` recorded; `kind` is the kind of part that is expected.

    Raises `ConfigError` for what is not moalign's own, such as a user's function: a record is never executed.

    >>> from moalign.credit import CreditPipeline
    >>> from moalign.parts import spec
    >>> record = spec(CreditPipeline(collapse="at_advantage"))
    >>> from_record(record, "credit").collapse, spec(from_record(record, "credit")) == record
    (AtAdvantage(), True)
    """
    if isinstance(record, list):
        return tuple(from_record(item) for item in record)
    if not isinstance(record, Mapping):
        return record
    if "part" in record:
        options = {name: value for name, value in record.items() if name != "part"}
        return _made(_found(str(record["part"]), kind), options)
    for word in ("call", "object"):
        if word in record:
            raise ConfigError(f"`{record[word]}` is not a part of moalign's, and a run's record is never executed.")
    return {name: from_record(value) for name, value in record.items()}


def _found(name: str, kind: str | None) -> Any:
    known = [named(kind)] if kind is not None else [named(each) for each in sorted({key[0] for key in REGISTRY})]
    for methods in known:
        if canonical(name) in methods:
            return methods[canonical(name)].part
    if ":" in name and name.startswith(OWN):
        return imported(name)
    raise UnknownNameError(f"the run's record has a {kind or 'part'} `{name}`, which this version of moalign does not.")


def _made(made: Any, options: Mapping[str, Any]) -> Any:
    if not isinstance(made, type):
        return bind(made, **{name: from_record(value) for name, value in options.items()})
    kinds = {f.name: f.metadata.get("kind") for f in dataclasses.fields(made) if f.init}
    return made(**{name: from_record(value, kinds[name]) for name, value in options.items() if name in kinds})


def objectives_of(spec: Mapping[str, Any]) -> tuple[Objective, ...]:
    """Return a recorded study's trained objectives by name, without their rewards: those stand in the rollouts."""
    kept = ("maximize", "threshold", "bounds", "timeout")
    found = [
        Objective(o["name"], **{name: from_record(o[name]) for name in kept if name in o})
        for o in spec["objectives"]
        if o.get("optimize", True)
    ]
    return tuple(sorted(found, key=lambda o: o.name))
