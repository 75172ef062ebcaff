"""What a wheel holds, and that installing it moves no torch."""

import subprocess
import sys
import zipfile
from email import message_from_string
from email.message import Message
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Build the wheel of the working tree."""
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(out), str(ROOT)],
        check=True,
    )
    [file] = out.glob("*.whl")
    return zipfile.ZipFile(file)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return message_from_string(wheel.read(name).decode())


def test_each_file_once_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert len(names) == len(set(names))
    tops = {name.split("/")[0] for name in names}
    assert tops == {"moalign", f"moalign-{version('moalign')}.dist-info"}  # no `optimizers` beside it
    tracked = {str(path.relative_to(ROOT)) for path in (ROOT / "moalign").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == tracked
    assert not [name for name in names if "__pycache__" in name or "/tests/" in name]


def test_data_files(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert {"moalign/py.typed", "moalign/bibliography.json", "moalign/explore/page/report.html"} <= names
    base = [wheel.getinfo(name) for name in names if name.startswith("moalign/demo/base/")]
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= {Path(info.filename).name for info in base}
    assert sum(info.file_size for info in base) <= 3_000_000


def test_requirements_are_ranges(metadata: Message) -> None:
    for requirement in map(Requirement, metadata.get_all("Requires-Dist") or []):
        assert not {s.operator for s in requirement.specifier} & {"==", "===", "~="}, requirement


def test_no_torch_is_moved(wheel: zipfile.ZipFile, metadata: Message) -> None:
    [torch] = [r for r in map(Requirement, metadata.get_all("Requires-Dist") or []) if r.name == "torch"]
    for there in ("2.11.0", "2.12.1+cu130", "2.13.0+cpu", "2.13.0"):
        assert there in torch.specifier
    # with everything installed, the resolver finds nothing to do but moalign itself; no index is asked
    plan = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", str(wheel.filename)],
        capture_output=True,
        text=True,
    )
    assert plan.returncode == 0, plan.stderr
    assert "Would install" not in plan.stdout or plan.stdout.split("Would install")[-1].split() == ["moalign-0.1.0"]


def test_the_licence_is_in_it(wheel: zipfile.ZipFile, metadata: Message) -> None:
    assert metadata["License-Expression"] == "MIT" and metadata["Requires-Python"] == ">=3.11"
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())
