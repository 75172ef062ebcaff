import torch
from torch.testing import assert_close

from moalign.losses import nll, token_mean
from moalign.records import Credit, Outputs


def test_nll_is_cross_entropy(rows, random) -> None:
    logits = random(0, 6, 4, 9)
    labels = torch.randint(9, (6, 4), generator=torch.Generator().manual_seed(1))
    logprobs = logits.log_softmax(-1).gather(-1, labels[..., None])[..., 0]
    credit = Credit(torch.zeros(6, 4, 1))
    loss = (nll(Outputs(logprobs), rows, credit)[..., 0] * token_mean(rows, credit))[rows.member == 0].sum()
    mine = (rows.train_mask & rows.keep[:, None])[:4]
    expected = torch.nn.functional.cross_entropy(logits[:4][mine], labels[:4][mine])
    assert_close(loss, expected)
