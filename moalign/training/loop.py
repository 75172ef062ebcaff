"""The one training loop: every method runs through it, and it names none of them."""

from typing import Any

from moalign.records import Environment, Points, Policy, State
from moalign.training.losses import TotalLoss, complete
from moalign.training.recipe import Recipe, resolve
from moalign.training.session import Session
from moalign.training.signals import channel_preferences, running_means, signals_of


def train(session: Session, recipe: Recipe, policy: Policy, env: Any, state: State) -> tuple[Policy, State]:
    """Train the members of a policy for the steps of a recipe, from wherever the session stands.

    `env` gives an `Environment` for each step by ``env.at(step)``; `state` is `initial_state` or a checkpoint's.
    """
    needs, couples = recipe.needs, recipe.couples
    for step in session.steps(recipe.steps):
        progress = step / recipe.steps
        now = resolve(recipe, progress, state["knobs"])
        here: Environment = env.at(step)

        # sample, score, filter
        rows, state = now.collect(policy, here, state, now)
        rows = complete(policy, rows, needs=needs, couples=couples, passes=now.update.passes)

        # from reward vectors to credit per token and channel
        weights, gain = (x.to(policy.device) for x in now.weighting.weigh(state["weighting"], rows))
        credit, credited = now.credit(rows, weights, gain, state["credit"])

        # one update of every member
        losses = TotalLoss(
            policy=policy,
            terms=now.losses,
            credit=credit,
            token_weights=now.reduce(rows, credit),
            preferences=channel_preferences(weights, credit),
            needs=needs,
            couples=couples,
        )
        metrics, updated = now.update(policy, rows, losses, state["update"], now)

        # what the step showed
        signals = signals_of(rows, step=step, progress=progress, names=here.names, metrics=metrics)
        steered = now.weighting.observe(state["weighting"], signals)
        means = running_means(state["running"], signals)
        state = {**state, "credit": credited, "update": updated, "weighting": steered, "running": means}
        noticed = {**credit.metrics, **losses.metrics(rows), **metrics, **here.drain()}
        session.record(policy, rows, credit, weights, gain, signals, state, noticed, now)

        # clone, drop or reorder members
        points = Points(step=step, progress=progress, values=means["means"], names=policy.members)
        policy, state = now.breed(policy, state, points)
        session.completed(step, policy, state)
    return policy, state


def initial_state(recipe: Recipe, policy: Policy, preferences: Any, setting: Any, knobs: State) -> State:
    """Return the state before the first step: one entry per part path, tensors leading with ``member``."""
    members, objectives = preferences.shape
    return {
        "knobs": knobs,
        "credit": recipe.credit.init(members, objectives),
        "update": recipe.update.init(policy),
        "weighting": recipe.weighting.init(preferences, setting),
        "running": running_means({}, None, members=members, objectives=objectives),
        "breed": {},
    }
