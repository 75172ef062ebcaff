"""What makes a reward the one it is, as text that is the same in another process."""

import hashlib
import inspect
import json
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from moalign.errors import ConfigError
from moalign.parts import Bound, spec


def identity(reward: Any) -> str:
    """Return the identity of a reward: options by name, functions by address and source, models by their parameters.

    Raises `ConfigError` where it cannot be told: a closure or an object that is no dataclass may behave differently
    under the same name.

    >>> from moalign.rewards import exact_number
    >>> identity(exact_number("a")) == identity(exact_number("a")), identity(exact_number("a")) == identity(len)
    (True, False)
    """
    return hashlib.sha256(json.dumps(_told(reward), sort_keys=True).encode()).hexdigest()


def _told(value: Any) -> Any:
    if hasattr(value, "named_parameters"):
        from moalign.models import fingerprint

        return ["model", fingerprint(value), value.config.to_json_string() if hasattr(value, "config") else None]
    if hasattr(value, "chat_template") and hasattr(value, "get_vocab"):
        vocabulary = hashlib.sha256(json.dumps(value.get_vocab(), sort_keys=True).encode()).hexdigest()
        return ["tokenizer", vocabulary, value.chat_template]
    if isinstance(value, Mapping):
        return {str(key): _told(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_told(item) for item in value]
    if isinstance(value, Bound):
        return ["bound", _told(value.fn), _told(dict(value.options))]
    if is_dataclass(value) and not isinstance(value, type):
        own = {f.name: _told(getattr(value, f.name)) for f in fields(value)}
        return [f"{type(value).__module__}:{type(value).__qualname__}", _source(type(value)), own]
    value = inspect.unwrap(value) if callable(value) else value  # a decorator stands in the source
    if isinstance(value, types.FunctionType) and (value.__closure__ or _source(value) is None):
        raise ConfigError(
            f"a cache in a file cannot tell `{value.__qualname__}` from others of its name, because it is a closure or "
            "has no source; give the cache a `version`."
        )
    told = spec(value)
    if isinstance(told, Mapping) and not isinstance(value, types.FunctionType | types.BuiltinFunctionType):
        raise ConfigError(
            f"a cache in a file cannot tell one {type(value).__name__} from another, because it is no dataclass; "
            "give the cache a `version`."
        )
    return told


def _source(code: Any) -> str | None:
    try:
        return inspect.getsource(code)
    except (OSError, TypeError):
        return None
