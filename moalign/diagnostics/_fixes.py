"""The nearest fix of one reward, in words: the first thing that is wrong with it decides."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

RARE = 0.5  # share of completions with a value below which it is worth asking why
DONE = 0.9  # share of silent groups, or of values at a bound, from which a reward is used up
SAME = 0.9  # correlation from which two rewards say the same
OFF = 1.5  # factor by which pressure and weight may differ
STUCK = 0.3  # what a tenth of a weight may leave of the pressure

NORMALIZE = (
    "normalise each reward before the sum (TRL: multi_objective_aggregation='normalize_then_sum'; "
    "verl: algorithm.adv_estimator=gdpo; moalign: recipe='gdpo')"
)


@dataclass(frozen=True)
class Facts:
    """What a fix is chosen by; shares as in `Audited`."""

    name: str
    weight: float
    signed: float  # mean weight
    pressure: float
    normalized: float  # the pressure's share if each reward were normalised first
    valid: float
    silent: float
    at_best: float
    at_worst: float
    left: float  # of the pressure at a tenth of the weight, under the weighted sum
    settled: bool  # credit normalises each reward first already, or a controller sets the weights
    near: Mapping[str, float]  # correlations with the others


def nearest_fix(facts: Facts) -> str:
    """Return what to try first, or "" where nothing is wrong.

    >>> solved = Facts("format", 0.5, 1.0, 0.1, 0.1, 1.0, 0.95, 0.99, 0.0, 0.1, False, {})
    >>> nearest_fix(solved)
    'solved in 99% of completions: drop it, or make it a gate of the others (`after=`) instead of a reward'
    """
    if facts.valid < RARE:
        return f"has a value for {facts.valid:.0%} of completions: mend the function, unless it is meant for so few"
    if facts.silent >= DONE:
        return _silent(facts)
    known = {name: value for name, value in facts.near.items() if not math.isnan(value)}
    other = max(known, key=lambda name: abs(known[name]), default=None)
    if other is not None and known[other] >= SAME:
        return f"ranks completions as `{other}` does ({known[other]:+.2f}): it counts twice; drop one, or halve both"
    if facts.signed == 0:
        return ""
    if facts.signed > 0 and facts.pressure < 0:
        against = min(known, key=lambda name: known[name], default=None)
        rival = f" (`{against}`, {known[against]:+.2f})" if against is not None and known[against] < 0 else ""
        return f"pushed down by what pays against it{rival}: raise its weight, or train a front instead of one mixture"
    return _weight(facts)


def _silent(facts: Facts) -> str:
    if facts.at_best >= DONE:
        return (
            f"solved in {facts.at_best:.0%} of completions: drop it, or make it a gate of the others (`after=`) "
            "instead of a reward"
        )
    if facts.at_worst >= DONE:
        return "almost never earned: easier prompts, more completions of a prompt, or steps between nothing and all"
    return "depends on the prompt, not on the completion: it is equal within groups and teaches nothing"


def _weight(facts: Facts) -> str:
    """Return what to do when the weight does not decide."""
    if facts.weight > 0 and not facts.settled:
        times = facts.pressure / facts.weight
        closer = abs(facts.normalized - facts.weight) < abs(facts.pressure - facts.weight)
        if not 1 / OFF <= times <= OFF and closer:
            return f"pulls {times:.2g} times its weight: {NORMALIZE}"
        if facts.left > STUCK:
            return f"a tenth of its weight would leave {facts.left:.0%} of its pull: {NORMALIZE}"
    return ""
