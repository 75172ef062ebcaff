"""Step rules for one member's tensor, and `apply`, which takes them over the member axis.

torch's optimizers see one stacked tensor: a member that explodes shrinks its neighbours' clipped gradients, and one
that is paused drifts on its old momentum. Here every member steps alone.

>>> import torch
>>> rule, theta = AdamW(), torch.zeros(2, 3)  # member weight
>>> state, lr, active = init(rule, theta), torch.tensor([0.1, 0.2]), torch.tensor([True, True])
>>> grads, norms = global_norm_clip({"theta": torch.ones(2, 3)}, torch.tensor([1.0, 1.0]))
>>> theta, state = apply(rule, theta, grads["theta"], state, lr=lr, active=active)
>>> theta[:, 0], state["step"]
(tensor([-0.1000, -0.2000]), tensor([1., 1.]))
"""

from moalign.optimizers.steps._adamw import AdamW
from moalign.optimizers.steps._apply import Rule, apply, global_norm_clip, init
from moalign.optimizers.steps._sgd import SGD

__all__ = ["SGD", "AdamW", "Rule", "apply", "global_norm_clip", "init"]
