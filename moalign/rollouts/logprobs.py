"""Forward passes over a whole batch without gradients: what losses and credit compare with."""

import torch
from jaxtyping import Float
from torch import Tensor

from moalign.records import Couples, Need, Outputs, Policy, Rows, Snapshot


def logprobs_of(
    policy: Policy, rows: Rows, *, couples: Couples = Couples.ROWS, at: Snapshot | None = None
) -> Float[Tensor, "row token"]:
    """Return what the policy, as it is or `at` another moment, gives the kept rows' tokens; 0 elsewhere."""
    return outputs_of(policy, rows, frozenset({Need.LOGPROBS}), couples=couples, at=at).logprobs


@torch.no_grad()
def outputs_of(
    policy: Policy,
    rows: Rows,
    needs: frozenset[Need],
    *,
    couples: Couples = Couples.ROWS,
    at: Snapshot | None = None,
) -> Outputs:
    """Return log-probabilities, and values if needed, of the kept rows of a whole batch; 0 elsewhere."""
    whole: dict[str, Tensor] = {}
    for part in list(policy.split(rows, couples=couples)) or [rows.select(rows.index[:0])]:
        found = policy.forward(part, needs, at=at)
        for name in ("logprobs", "values"):
            if (x := getattr(found, name)) is not None:
                empty = torch.zeros((*rows.tokens.shape, *x.shape[2:]), device=rows.tokens.device)
                whole.setdefault(name, empty)[part.index, : x.shape[1]] = x.float()
    whole = dict(zip(whole, policy.summed(list(whole.values()))))  # rows of other processes are 0 here
    return Outputs(whole["logprobs"], values=whole.get("values"))
