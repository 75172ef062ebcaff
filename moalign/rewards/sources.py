"""From what a user may give as a reward to a function that can be called."""

import re
from collections.abc import Callable
from typing import Any

from moalign.errors import ConfigError
from moalign.parts import imported

ADDRESS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def resolve(reward: Any) -> Callable[..., Any]:
    """Return the function behind a reward: itself, what "package.module:function" names, or a classifier.

    >>> resolve("operator:add")(1, 2)
    3
    """
    if isinstance(reward, str):
        if not ADDRESS.fullmatch(reward):
            from moalign.rewards.classifier import Classifier  # transformers, only for those who use it

            return Classifier.load(reward)
        reward = imported(reward)
    if hasattr(reward, "config") and hasattr(reward, "forward"):
        from moalign.rewards.classifier import Classifier

        return Classifier.of(reward)
    if not callable(reward) or isinstance(reward, type):
        raise ConfigError(f"a reward must be a function, a model or a string that names one, not {reward!r}.")
    return reward
