"""Errors: each is a `MoalignError` and also the built-in a caller would expect.

A message names the argument in backticks, the rule, the value found and what to do.
"""

import difflib
from collections.abc import Iterable


class MoalignError(Exception):
    """Base of every error that moalign raises on purpose."""

    def __str__(self) -> str:  # KeyError would print the repr of its message
        return str(self.args[0]) if self.args else ""


class ConfigError(MoalignError, ValueError):
    """A study, recipe or option is wrong; nothing has been trained."""


class UnknownNameError(ConfigError, KeyError):
    """A part, option, member or objective of that name does not exist."""


class StudyError(ConfigError):
    """Everything that is wrong with a study, all at once; `problems` lists it."""

    def __init__(self, problems: Iterable[str]):
        self.problems = tuple(problems)
        super().__init__("\n".join(f"- {problem}" for problem in self.problems))


class RewardError(MoalignError, RuntimeError):
    """A reward raised, hung, or returned something that is not one number or None per completion."""


class TrainingError(MoalignError, RuntimeError):
    """Training cannot go on: every member has stopped, or the data ran out."""


class RunError(MoalignError, RuntimeError):
    """A run directory cannot be used: it belongs to another study, is damaged, or cannot be written."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the end of a message: the names nearest to `word`, or all known ones.

    >>> nearest("epsilonn", ["epsilon", "beta"])
    '; did you mean epsilon?'
    >>> nearest("zzz", ["epsilon", "beta"])
    '; known: beta, epsilon'
    """
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=3)
    if near:
        return f"; did you mean {' or '.join(near)}?"
    return f"; known: {', '.join(names)}" if names else ""
