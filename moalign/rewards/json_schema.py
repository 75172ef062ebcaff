"""Is the completion JSON of the form that was asked for?"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from moalign.errors import ConfigError, RewardError
from moalign.parts import register
from moalign.rewards.reading import column_of, need
from moalign.rewards.texts import text_of

FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)


@register("reward", "json-schema", test="tests/rewards/test_verifiers.py::test_json_schema_validates")
@dataclass(frozen=True)
class JsonSchema:
    """1 where the completion is JSON that a JSON Schema allows, else 0, as the library ``jsonschema`` says.

    One schema for all, or with `column` one for each prompt, as a dict or as text; None where the column holds none.
    Of a completion with fenced blocks of code, the last block is read. NaN and Infinity are not JSON, and references
    to other addresses are not followed.

    >>> reward = JsonSchema({"type": "object", "required": ["name"]})
    >>> reward(completions=['{"name": "Ada"}', "{}", "not JSON"])
    [1.0, 0.0, 0.0]
    >>> from moalign.objectives import Objective
    >>> objective = Objective("valid", JsonSchema(column="schema"))
    """

    schema: Mapping[str, Any] | bool | None = field(default=None, hash=False)
    column: str | None = None

    def __post_init__(self) -> None:
        need("jsonschema", "jsonschema", "JsonSchema")
        if (self.schema is None) == (self.column is None):
            raise ConfigError("`JsonSchema` needs either a `schema` or a `column` that holds one for each prompt.")
        if self.schema is not None:
            _validator(self.schema, ConfigError)

    @property
    def columns(self) -> tuple[str, ...]:
        return () if self.column is None else (self.column,)

    def __call__(self, completions: Sequence[Any], **columns: Any) -> list[float | None]:
        texts = [text_of(completion) for completion in completions]
        if self.column is None:
            validator = _validator(self.schema, RewardError)
            return [_valid(validator, text) for text in texts]
        schemas = column_of(columns, self.column)
        return [
            None if schema is None else _valid(_validator(_parsed(schema), RewardError), text)
            for text, schema in zip(texts, schemas, strict=True)
        ]


def _parsed(schema: Any) -> Any:
    try:
        return json.loads(schema) if isinstance(schema, str) else schema
    except ValueError as error:
        raise RewardError(f"a schema in the data is not JSON: {error}") from error


def _validator(schema: Any, kind: type[Exception]) -> Any:
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for
    from referencing import Registry

    found = validator_for(schema)
    try:
        found.check_schema(schema)
    except SchemaError as error:
        raise kind(f"`schema` is not a JSON Schema: {error.message}.") from error
    return found(schema, registry=Registry())


def _valid(validator: Any, text: str) -> float:
    blocks = FENCED.findall(text)
    try:
        value = json.loads(blocks[-1] if blocks else text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return 0.0
    return float(validator.is_valid(value))


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
