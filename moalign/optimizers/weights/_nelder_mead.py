"""Nelder-Mead for values that come one at a time: told what a trial is worth, it names the next one."""

import torch
from jaxtyping import Float
from torch import Tensor

FILL, REFLECT, EXPAND, OUTSIDE, INSIDE = range(5)  # what the trial is: a vertex, or one of the moves of the worst
Simplex = dict[str, Tensor]


def simplex_at(points: Float[Tensor, "vertex variable"]) -> Simplex:
    """Return the state of a search that begins at these vertices, one more than there are free variables.

    A variable that is NaN in all of them does not take part. ``trial`` is the point to value next.
    """
    missing = points.new_full((len(points),), torch.nan)
    return {
        "points": points.clone(),
        "scores": missing,
        "trial": points[0].clone(),
        "kept": points[0].clone(),
        "kept_score": missing[0].clone(),
        "phase": torch.tensor(FILL),
    }


def nelder_mead(state: Simplex, score: Float[Tensor, ""]) -> Simplex:
    r"""Return the state after the trial turned out to be worth `score`; larger is better.

    The worst vertex :math:`x_w` is reflected in the centre :math:`c` of the others, :math:`c + (c - x_w)`; what is
    better than all is tried twice as far, what is no better than the second worst half as far, on the better side; if
    that fails, all vertices come half-way to the best and are valued again. Nelder and Mead 1965,
    https://doi.org/10.1093/comjnl/7.4.308, with the ties of Lagarias et al. 1998.

    >>> state = simplex_at(torch.tensor([[0.0], [1.0]]))
    >>> for value in (0.0, 1.0):  # more is better
    ...     state = nelder_mead(state, torch.tensor(value))
    >>> state["trial"]
    tensor([2.])
    """
    phase = int(state["phase"])
    points, scores = state["points"].clone(), state["scores"].clone()
    trial, kept, kept_score = state["trial"], state["kept"], state["kept_score"]
    if phase == FILL:
        scores[int(scores.isnan().long().argmax())] = score
        return _began(points, scores, state)
    worst, centre = points[-1], points[:-1].mean(dim=0)  # of sorted vertices, as whatever is not FILL has them
    held = {"points": points, "scores": scores, "kept": trial, "kept_score": score}
    if phase == REFLECT:
        if score > scores[0]:
            return {**held, "trial": centre + 2 * (centre - worst), "phase": torch.tensor(EXPAND)}
        if score > scores[-2]:
            return _replaced(points, scores, trial, score, state)
        if score > scores[-1]:
            return {**held, "trial": centre + (centre - worst) / 2, "phase": torch.tensor(OUTSIDE)}
        return {**held, "trial": centre - (centre - worst) / 2, "phase": torch.tensor(INSIDE)}
    if phase == EXPAND:
        better = (trial, score) if score > kept_score else (kept, kept_score)
        return _replaced(points, scores, *better, state)
    if (phase == OUTSIDE and score >= kept_score) or (phase == INSIDE and score > scores[-1]):
        return _replaced(points, scores, trial, score, state)
    points[1:] = points[0] + (points[1:] - points[0]) / 2
    scores[1:] = torch.nan
    return _began(points, scores, state)


def _replaced(points: Tensor, scores: Tensor, point: Tensor, score: Tensor, state: Simplex) -> Simplex:
    """Return the state with the worst vertex replaced."""
    points[-1], scores[-1] = point, score
    return _began(points, scores, state)


def _began(points: Tensor, scores: Tensor, state: Simplex) -> Simplex:
    """Return the state at the start of a round: the next vertex without a value, or the reflection of the worst."""
    unknown = scores.isnan()
    if bool(unknown.any()):
        trial, phase = points[int(unknown.long().argmax())], FILL
    else:
        order = scores.argsort(descending=True, stable=True)
        points, scores = points[order], scores[order]
        trial, phase = 2 * points[:-1].mean(dim=0) - points[-1], REFLECT
    return {**state, "points": points, "scores": scores, "trial": trial.clone(), "phase": torch.tensor(phase)}
