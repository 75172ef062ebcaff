"""Whether TRL's trainer and a study compute the same: loss and gradient on the same completions."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import Different
from moalign.policies import LoraMembers
from moalign.records import Rows
from moalign.study._assemble import assemble
from moalign.training.loop import initial_state
from moalign.training.losses import TotalLoss, complete
from moalign.training.recipe import resolve
from moalign.training.signals import channel_preferences

TOLERANCE = 1e-4  # of a gradient's size, and of a loss


def check_same(trainer: Any, job: Any) -> None:
    """Raise `Different` unless loss and gradient are the same on TRL's own completions, to 1e-4 of their size."""
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    lines = [line for line in trainer.train_dataset.select(range(16)) for _ in range(8)]
    batch = trainer._generate_and_score_completions(lines)
    theirs = trainer.compute_loss(trainer.model, batch)
    theirs.backward()
    expected = {ours(name): p.grad for name, p in trainer.model.named_parameters() if p.grad is not None}

    made = assemble(job)
    policy, rows = made.policy, made.train.score(rows_of(batch, lines))
    if isinstance(policy, LoraMembers):  # from the same random start
        with tempfile.TemporaryDirectory() as where:
            trainer.model.save_pretrained(where)
            policy.load(policy.members[0], Path(where))
    now = resolve(job.recipe, 0.0, {})
    state = initial_state(job.recipe, policy, made.preferences, made.setting, {})
    weights, gain = now.weighting.weigh(state["weighting"], rows)
    rows = complete(policy, rows, needs=job.recipe.needs, couples=job.recipe.couples, passes=1)
    credit, _ = now.credit(rows, weights, gain, state["credit"])
    loss = TotalLoss(
        policy=policy, terms=now.losses, credit=credit, token_weights=now.reduce(rows, credit),
        preferences=channel_preferences(weights, credit), needs=job.recipe.needs, couples=job.recipe.couples,
    )(rows).sum()  # fmt: skip
    loss.backward()
    found = {name: stacked.tensor.grad for name, stacked in policy.parameters().items()}
    if not expected or set(expected) != set(found):
        raise Different(f"the parameters differ: {sorted(set(expected) ^ set(found))[:4]}; no time is given")
    for name, gradient in found.items():
        assert gradient is not None, name
        gap, size = float((gradient[0] - expected[name]).abs().max()), float(expected[name].abs().max())
        if gap > TOLERANCE * max(size, 1e-3):
            raise Different(f"the gradient of `{name}` differs by {gap:.1e} of {size:.1e}; no time is given")
    if abs(float(loss) - float(theirs)) > TOLERANCE:
        raise Different(f"the loss is {float(loss):.6f}, TRL's {float(theirs):.6f}; no time is given")


def ours(name: str) -> str:
    """Return what a member's tensor is called here, of PEFT's or the model's own name.

    >>> ours("base_model.model.model.layers.0.mlp.up_proj.lora_A.default.weight"), ours("lm_head.weight")
    ('model.layers.0.mlp.up_proj.lora_A', 'lm_head.weight')
    """
    return name.removeprefix("base_model.model.").removesuffix(".default.weight")


def rows_of(batch: dict[str, torch.Tensor], lines: list[dict[str, str]]) -> Rows:
    """Return TRL's batch as our record."""
    count, mask = len(lines), batch["completion_mask"].bool()
    number = torch.arange(count)
    return Rows(
        members=1,
        member=torch.zeros(count, dtype=torch.long),
        prompt_id=number // 8,
        group=number // 8,
        prompt_tokens=batch["prompt_ids"],
        prompt_mask=batch["prompt_mask"].bool(),
        tokens=batch["completion_ids"],
        completion_mask=mask,
        train_mask=mask,
        keep=torch.ones(count, dtype=torch.bool),
        temperature=torch.ones(count),
        index=number,
        columns={"prompt": [line["prompt"] for line in lines]},
    )
