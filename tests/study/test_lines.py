"""Progress without a terminal: a line for every tenth."""

import io

from rich.console import Console
from rich.progress import Progress

from moalign.study._lines import Lines, progress_bars


def test_a_line_for_every_tenth() -> None:
    text = io.StringIO()
    with progress_bars(Console(file=text, width=20)) as bars:
        assert isinstance(bars, Lines)
        task = bars.add_task("a: training", total=40)
        for step in range(40):
            bars.update(task, advance=1, note=f"hypervolume {step / 100:.2f} and more than fits on a line")
        bars.update(task, description="a: [dev] prompts", completed=3, total=8, note="")
        bars.update(task, completed=3)  # nothing new
    lines = text.getvalue().splitlines()
    assert [line.split()[2] for line in lines[:-1]] == [f"{n}/40" for n in range(4, 41, 4)]
    assert lines[0] == "a: training 4/40 0:00 hypervolume 0.03 and more than fits on a line"
    assert lines[-1] == "a: [dev] prompts 3/8 0:00"


def test_a_resumed_task_tells_only_what_is_new() -> None:
    text = io.StringIO()
    bars = Lines(Console(file=text))
    task = bars.add_task("a", total=10, completed=9)
    bars.update(task, advance=1)
    assert text.getvalue() == "a 10/10 0:00\n"


def test_a_terminal_gets_bars() -> None:
    assert isinstance(progress_bars(Console(file=io.StringIO(), force_terminal=True)), Progress)
