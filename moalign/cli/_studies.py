"""Study files: Python that defines `Study` objects at its top level."""

import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from moalign.cli._settings import settings_in
from moalign.errors import ConfigError, RunError, StudyError

if TYPE_CHECKING:
    from moalign.study import Study


def studies_in(file: Path) -> dict[str, "Study"]:
    """Import a study file and return its studies by variable name: the first is the main one, the others baselines."""
    from moalign.study import Study

    found = {name: value for name, value in vars(module_of(file)).items() if isinstance(value, Study)}
    if not found:
        raise ConfigError(f"`{file}` defines no Study; write `study = Study(...)` at its top level.")
    names = [study.name for study in found.values()]
    if len(set(names)) != len(names):
        raise ConfigError(f"`{file}` has two studies of one name ({', '.join(names)}); each needs its own directory.")
    return found


def module_of(file: Path) -> ModuleType:
    """Import a Python file; what its own code raises is said with its line."""
    if not file.is_file():
        raise ConfigError(
            f"`{file}` is not a file; give a Python file that defines a Study, e.g. studies/arithmetic.py."
        )
    module_spec = importlib.util.spec_from_file_location(file.stem, file.resolve())
    if module_spec is None or module_spec.loader is None:
        raise ConfigError(f"`{file}` is not a Python file.")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[file.stem] = module  # so that functions defined there have an address, also in other processes
    folder = str(file.parent.resolve())
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's own code raises
        raise ConfigError(f"`{file}`, line {_line(error, file)}: {type(error).__name__}: {error}") from error
    return module


def _line(error: Exception, file: Path) -> int | str:
    """Return the line of `file` that an exception came through, or the one that cannot be parsed."""
    if isinstance(error, SyntaxError):
        return error.lineno or "?"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == file.resolve()]
    return frames[-1].lineno or "?" if frames else "?"


def with_settings(study: "Study", settings: Sequence[str]) -> "Study":
    """Apply ``path=value`` settings."""
    return study.replace(**settings_in(settings))


def select_studies(file: Path, *, only: str | None, settings: Sequence[str]) -> list["Study"]:
    """Return the studies of a file with settings applied; `only` names one of them."""
    studies = [with_settings(study, settings) for study in studies_in(file).values()]
    if only is None:
        return studies
    chosen = [study for study in studies if study.name == only]
    if not chosen:
        names = ", ".join(study.name for study in studies)
        raise ConfigError(f"`--only {only}`: `{file}` defines {names}.")
    return chosen


def check_all(studies: Sequence["Study"], out: Path) -> None:
    """Raise `StudyError` with everything that is wrong with any of the studies, each to run in ``out/<name>``."""
    found: list[str] = []
    for study in studies:
        try:
            study.check(out / study.name)
        except StudyError as error:
            found += [f"{study.name}: {problem}" for problem in error.problems]
        except RunError as error:
            found.append(f"{study.name}: {error}")
    if found:
        raise StudyError(found)
