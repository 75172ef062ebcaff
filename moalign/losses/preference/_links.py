"""Links: what a preference loss makes of a pair's margin."""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from moalign.parts import register

Beta = float | Float[Tensor, "pair"]


@register(
    "link", "dpo", paper="rafailov2023dpo", test="tests/losses/test_preference.py::test_dpo_equals_the_closed_form"
)
def dpo(margin: Float[Tensor, "pair"], *, beta: Beta = 0.1) -> Float[Tensor, "pair"]:
    r"""Return :math:`-\log\sigma(\beta m)`, :math:`m` the ``margin``. Rafailov et al. 2023, arXiv:2305.18290, eq. 7.

    >>> import torch
    >>> dpo(torch.tensor([0.0, 10.0]), beta=0.1)
    tensor([0.6931, 0.3133])
    """
    return -logsigmoid(beta * margin)


@register("link", "ipo", paper="azar2023ipo", test="tests/losses/test_preference.py::test_ipo_value")
def ipo(margin: Float[Tensor, "pair"], *, beta: Beta = 0.1) -> Float[Tensor, "pair"]:
    r"""Return :math:`(m-\frac{1}{2\beta})^2`, :math:`m` the ``margin``. Azar et al. 2023, arXiv:2310.12036, eq. 17.

    >>> import torch
    >>> ipo(torch.tensor([0.0, 5.0]), beta=0.1)
    tensor([25.,  0.])
    """
    return (margin - 1 / (2 * beta)) ** 2
