"""A number about a front, with its standard error and what it was measured on."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.fronts._point import Numbers
from moalign.optimizers.hypervolume import gradient, hypervolume


@dataclass(frozen=True)
class Measure:
    """A value, its standard error, and the reference point, points and prompts behind it.

    >>> print(Measure(0.4612, 0.0043, {"accuracy": 0.0}, points=8, prompts=1024))
    0.4612 ± 0.0043 (8 points, 1,024 prompts)
    """

    value: float
    stderr: float
    reference_point: Numbers  # own units
    points: int
    prompts: int

    def __str__(self) -> str:
        return f"{self.value:.4f} ± {self.stderr:.4f} ({self.points} points, {self.prompts:,} prompts)"


def hypervolume_measure(
    values: Float[Tensor, "point objective"],
    errors: Float[Tensor, "point draw objective"],
    reference: Float[Tensor, "objective"],
    *,
    reference_point: Numbers,
    prompts: int,
) -> Measure:
    r"""Return the hypervolume of `values` and its standard error by the delta method.

    :math:`\sum_d \big(\sum_{p,o} \partial HV / \partial v_{po} \, e_{pdo}\big)^2` is its variance, :math:`v` ``values``
    and :math:`e` ``errors``: independent error terms, each moving the points together. These are an
    evaluation's ``influence``, one draw per prompt; or, where only standard errors are known, one draw per number.

    >>> one = hypervolume_measure(torch.tensor([[2.0, 3.0]]), torch.tensor([[[0.1, 0.0], [0.0, 0.1]]]), torch.zeros(2),
    ...     reference_point={}, prompts=9)
    >>> round(one.value, 6), round(one.stderr ** 2, 6)   # 2 * 3; (3 * 0.1)² + (2 * 0.1)²
    (6.0, 0.13)
    """
    points, reference = values.double(), reference.double()
    if not len(points):
        return Measure(0.0, 0.0, dict(reference_point), 0, prompts)
    slope = gradient(points, reference)
    moves = torch.einsum("po,pdo->d", slope, errors.double())
    return Measure(
        value=float(hypervolume(points, reference)),
        stderr=float(moves.square().sum().sqrt()),
        reference_point=dict(reference_point),
        points=len(points),
        prompts=prompts,
    )


def independent_errors(stderr: Float[Tensor, "point objective"]) -> Float[Tensor, "point draw objective"]:
    """Return error terms for numbers whose errors are not known to move together."""
    points, objectives = stderr.shape
    return torch.diag(stderr.flatten()).reshape(points, objectives, points * objectives).transpose(1, 2)
