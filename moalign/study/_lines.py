"""Progress where standard error is no terminal, such as a CI log: one line for every tenth of a task."""

import time
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

TENTHS = 10  # lines that a task is told in

COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
    TimeRemainingColumn(),
    TextColumn("{task.fields[note]}"),
)


@dataclass
class Task:
    """What is known of one task, and how much of it has been told."""

    description: str
    total: int
    completed: int
    note: str
    began: float
    told: int = 0  # tenths


class Lines:
    """As much of `rich.progress.Progress` as is used here, in lines."""

    def __init__(self, console: Console):
        self.console = console
        self.tasks: list[Task] = []

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *error: object) -> None: ...

    def add_task(self, description: str, *, total: int, completed: int = 0, note: str = "") -> TaskID:
        told = TENTHS * completed // max(total, 1)
        self.tasks.append(Task(description, total, completed, note, time.monotonic(), told))
        return TaskID(len(self.tasks) - 1)

    def update(
        self,
        task: TaskID,
        *,
        description: str | None = None,
        total: int | None = None,
        completed: int | None = None,
        advance: int = 0,
        note: str | None = None,
    ) -> None:
        """Take the news; print a line where a tenth has been completed."""
        state = self.tasks[task]
        if description is not None and description != state.description:
            state.description, state.told = description, 0
        state.total = state.total if total is None else total
        state.note = state.note if note is None else note
        state.completed = (state.completed if completed is None else completed) + advance
        tenths = TENTHS * state.completed // max(state.total, 1)
        if tenths > state.told:
            state.told = tenths
            minutes, seconds = divmod(int(time.monotonic() - state.began), 60)
            line = f"{state.description} {state.completed}/{state.total} {minutes}:{seconds:02d} {state.note}"
            self.console.print(line.rstrip(), highlight=False, markup=False, soft_wrap=True)


def progress_bars(console: Console | None = None) -> "Bar | Lines":
    """Return bars on a terminal, lines elsewhere; on standard error unless a console is given."""
    console = console or Console(stderr=True)
    return Bar(*COLUMNS, console=console) if console.is_terminal else Lines(console)
