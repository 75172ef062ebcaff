"""A room imports only rooms above it, and no package imports studies, examples or tests."""

import ast
from pathlib import Path

from pytest import mark

PACKAGE = Path(__file__).parents[1] / "moalign"
ROOMS = """errors parts records mates optimizers runs models objectives rewards data tasks policies rollouts credit
    losses weighting training evaluation fronts recipes diagnostics study explore bridges demo cli""".split()
GROUND = {"errors", "parts"}  # all that `optimizers` may know of moalign


def imported(file: Path) -> set[str]:
    """Return the rooms a file imports when it is imported: not those inside functions or under TYPE_CHECKING."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            modules = [node.module or ""]
            if node.module == "moalign":
                modules = [f"moalign.{alias.name}" for alias in node.names]
        found.update(name.split(".")[1] for name in modules if name.startswith("moalign."))
        assert not any(name.split(".")[0] in ("studies", "examples", "tests", "optimizers") for name in modules), file
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(file.read_text(encoding="utf-8")))
    return found


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(f for f in PACKAGE.rglob("*.py") if room_of(f) not in ("__init__", "__main__"))


@mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_only_rooms_above(file: Path) -> None:
    room = room_of(file)
    allowed = set(ROOMS[: ROOMS.index(room) + 1]) if room != "optimizers" else GROUND | {"optimizers"}
    assert imported(file) <= allowed, f"{file} may import only {sorted(allowed)}"
