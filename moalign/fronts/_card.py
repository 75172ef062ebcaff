"""One point in the terminal: what it is, and what it answers."""

from rich.console import Console
from rich.markup import escape

from moalign.fronts._front import Front
from moalign.fronts._table import marks


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
    if point.path is not None:
        console.print(f"files: {escape(str(point.path))}", soft_wrap=True)
    for sample in point.samples[:samples]:
        rewards = ", ".join(f"{name} {'missing' if r is None else f'{r:g}'}" for name, r in sample.rewards.items())
        said = f"\n[bold]{escape(as_text(sample.prompt))}[/]{escape(as_text(sample.completion))}"
        console.print(said, highlight=False)
        console.print(f"[dim]{escape(rewards)}[/]", highlight=False)


def as_text(message: object) -> str:
    """Return a prompt as a person reads it: chat messages become lines of ``role: content``."""
    if isinstance(message, list):
        return "\n".join(f"{turn.get('role', '?')}: {turn.get('content', '')}" for turn in message) + "\n"
    return str(message)
