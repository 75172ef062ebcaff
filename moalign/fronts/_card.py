"""One point in the terminal: what it is, and what it answers."""

import json
from typing import Any

from rich.console import Console
from rich.markup import escape

from moalign.fronts._front import Front
from moalign.fronts._table import marks
from moalign.runs import plain


def print_point(front: Front, id: str, console: Console, *, samples: int = 3) -> None:
    """Print a point of a front and `samples` of its completions, each with every reward in its own unit."""
    point = front.point(id)
    facts = [f"step {point.step}", *marks(point, front.objectives, split=front.split)]
    console.print(f"[bold]{escape(id)}[/] ({point.kind}), {escape(', '.join(facts))}", highlight=False)
    for o in front.objectives:
        wish = f"  preference {point.preference[o.name]:.2f}" if o.name in point.preference else ""
        weight = f"  weight {point.weights[o.name]:.2f}" if point.weights and o.name in point.weights else ""
        value = o.show(point.values[o.name], point.stderr[o.name])
        console.print(f"  {o.name} {'↑' if o.maximize else '↓'} {value}{wish}{weight}", markup=False, highlight=False)
    if point.prefix:
        console.print(f"before every prompt: {escape(repr(point.prefix))}", soft_wrap=True, highlight=False)
    if point.path is not None:
        console.print(f"files: {escape(str(point.path))}", soft_wrap=True)
    for sample in point.samples[:samples]:
        rewards = ", ".join(f"{name} {'missing' if r is None else f'{r:g}'}" for name, r in sample.rewards.items())
        said = f"\n[bold]{escape(as_text(sample.prompt))}[/]\n{escape(as_text(sample.completion))}"
        console.print(said, highlight=False)
        console.print(f"[dim]{escape(rewards)}[/]", highlight=False)


def as_text(message: Any) -> str:
    """Return a prompt or completion as text: chat messages one per paragraph, each with its role.

    >>> as_text("1+1="), as_text([{"role": "user", "content": "Hi"}])
    ('1+1=', 'user: Hi')
    """
    if isinstance(message, str):
        return message
    if isinstance(message, list | tuple):
        return "\n\n".join(as_text(item) for item in message)
    if isinstance(message, dict) and "content" in message:
        return f"{message.get('role', '?')}: {message['content']}"
    return json.dumps(plain(message), ensure_ascii=False)
