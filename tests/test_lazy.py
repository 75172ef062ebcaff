"""What stays light: the package, its command line, and `moalign.optimizers`; and what shadows nothing."""

import subprocess
import sys
from pathlib import Path

from pytest import mark


def loaded_by(code: str, cwd: Path | None = None) -> set[str]:
    """Return the top-level modules that a fresh interpreter has after running `code`."""
    ending = "; import sys; print('LOADED', *{m.split('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code + ending], capture_output=True, text=True, check=True, cwd=cwd)
    return set(done.stdout.split("LOADED")[-1].split())


@mark.parametrize("code", ["import moalign", "import moalign.cli"])
def test_light(code: str) -> None:
    assert not loaded_by(code) & {"torch", "transformers", "numpy", "pandas", "optuna"}


@mark.parametrize("arguments", [["--help"], ["demo", "--help"], ["run", "--help"]], ids=" ".join)
def test_help_is_light(arguments: list[str]) -> None:
    code = f"import moalign.cli, contextlib\nwith contextlib.suppress(SystemExit): moalign.cli.app({arguments})\npass"
    assert not loaded_by(code) & {"torch", "transformers", "numpy", "pandas"}


def test_optimizers_stand_alone() -> None:
    assert not loaded_by("import moalign.optimizers") & {"transformers", "botorch", "optuna", "datasets", "peft"}


def test_folders_beside_a_script_shadow_nothing() -> None:
    decoys = Path(__file__).parent / "decoys"  # where `make test` runs everything
    for name in ("optimizers", "rewards", "tasks"):
        done = subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True, text=True, cwd=decoys)
        assert f"`{name}` here is not moalign.{name}" in done.stderr
    code = "import moalign; moalign.Study, moalign.optimizers, moalign.rewards, moalign.tasks, moalign.recipes"
    assert "moalign" in loaded_by(code, cwd=decoys)
