"""Settings of a command line: ``path=value``, and weights by name."""

import json
import math
from collections.abc import Sequence
from typing import Any

from moalign.errors import ConfigError


def settings_in(given: Sequence[str]) -> dict[str, Any]:
    """Return ``path=value`` settings; a value is JSON where it reads as JSON, else a string."""
    found: dict[str, Any] = {}
    for setting in given:
        path, equals, text = setting.partition("=")
        if not equals or not path:
            raise ConfigError(f"`--set {setting}`: write path=value, e.g. --set recipe.learning_rate=1e-4.")
        try:
            found[path] = json.loads(text)
        except json.JSONDecodeError:
            found[path] = text
    return found


def weights_in(given: Sequence[str]) -> dict[str, float]:
    """Return ``name=value`` weights."""
    found: dict[str, float] = {}
    for setting in given:
        name, _, text = setting.partition("=")
        try:
            found[name] = float(text)
        except ValueError:
            found[name] = math.nan
        if not name or not math.isfinite(found[name]):
            raise ConfigError(f"`--weight {setting}`: write name=number, e.g. --weight accuracy=0.5.")
    return found
