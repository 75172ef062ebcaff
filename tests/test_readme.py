"""The README: its study is the file's text, its commands are run, its code compiles and names what exists."""

import ast
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import moalign as library
from moalign import load

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "studies" / "arithmetic.py"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [
    shlex.split(line, comments=True)
    for language, text in BLOCKS
    if language == "sh"
    for line in text.splitlines()
    if shlex.split(line, comments=True)
]
Call = Callable[..., tuple[int, str, str]]


def test_the_study_is_the_file() -> None:
    assert PYTHON[0].strip() == STUDY.read_text(encoding="utf-8").strip()
    assert len(STUDY.read_text(encoding="utf-8").splitlines()) < 60


@pytest.mark.parametrize("code", PYTHON[1:], ids=range(1, len(PYTHON)))
def test_code_compiles_and_its_names_exist(code: str) -> None:
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.module == "moalign"
            assert all(hasattr(library, alias.name) for alias in node.names)
        if isinstance(node, ast.Call):
            room, _, name = ast.unparse(node.func).rpartition(".")
            if room in library.__all__:
                assert hasattr(getattr(library, room), name), f"moalign.{room} has no {name}"
            assert room or name in library.__all__, f"moalign has no {name}"


def test_python_that_reads_a_run(finished: Path, tmp_path: Path) -> None:
    [code] = [block for block in PYTHON if "load(" in block]
    code = code.replace("runs/arithmetic", str(finished)).replace("out/brief", str(tmp_path / "brief"))
    code = code.replace('{"accuracy": 0.7}', '{"digits": 0.0}').replace('"brevity"', '"short"')
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "brief" / "adapter_config.json").is_file()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_command(
    command: list[str], moalign: Call, study_file: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run a command of the README: `moalign …` on a tiny study; the others where their tests stand."""
    program, *arguments = command
    if program == "make":
        [target] = arguments
        assert target in ("study", "test")  # test_make_study below; `make test` runs this very test
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    elif program == "pip":
        assert arguments == ["install", "."]  # tests/test_packaging.py
        assert (ROOT / "tests" / "test_packaging.py").is_file()
    else:
        assert program == "moalign", f"no test runs `{shlex.join(command)}`"
        monkeypatch.chdir(tmp_path)
        places = {"studies/arithmetic.py": study_file, "STUDY.py": study_file, "runs/arithmetic": finished}
        places["POINT"] = load(finished).front[0].id
        status, _, err = moalign(*(places.get(word, word) for word in arguments), *SMALL.get(arguments[0], ()))
        assert status == 0, err


SMALL = {"demo": ("--members", "2", "--steps", "1"), "run": ("--jobs", "1", "--set", "recipe.steps=1")}


@pytest.mark.slow
def test_make_study(tmp_path: Path) -> None:
    small = "--set recipe.steps=1 --set eval_prompts=8 --set recipe.prompts_per_step=2"
    variables = [f"OUT={tmp_path / 'runs'}", f"BASE={tmp_path / 'base'}", "BASE_STEPS=2"]
    done = subprocess.run(
        ["make", "study", *variables, f"SET={small} --set model={tmp_path / 'base'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    names = [path.name for path in sorted((tmp_path / "runs").iterdir())]
    assert names == ["arithmetic", "arithmetic-fixed"]
    assert done.stdout.count("hypervolume") == 2 and "accuracy ↑" in done.stdout
    report = (tmp_path / "runs" / "arithmetic" / "report.html").read_text(encoding="utf-8")
    assert "arithmetic-fixed" in report


def test_links_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (ROOT / target).exists(), target
    for path in re.findall(r"`((?:moalign|examples|studies)/[\w./]*)`", text):
        assert (ROOT / path).exists(), path


def test_scripts_in_the_readme_are_installed() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert {command[0] for command in COMMANDS} <= {*scripts, "make", "pip"}
