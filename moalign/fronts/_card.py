"""One point in the terminal: what it is, and what it answers."""

from rich.console import Console
from rich.markup import escape

from moalign.fronts._front import Front
from moalign.fronts._table import front_table


def print_point(front: Front, id: str, console: Console, *, samples: int = 3) -> None:
    """Print a point of a front and `samples` of its completions, each with every reward in its own unit."""
    point = front.point(id)
    alone = Front((point,), front.objectives, split=front.split)
    console.print(front_table(alone, title=f"{id} ({point.kind})"))
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
