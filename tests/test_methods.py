"""The list of methods: every one has a test that exists, and a paper that the bibliography knows."""

import ast
import json
from pathlib import Path

from pytest import mark
from typer.testing import CliRunner

from moalign.cli import app
from moalign.parts import Method, bibliography
from moalign.recipes import all_methods

ROOT = Path(__file__).parents[1]


@mark.parametrize("method", all_methods(), ids=lambda m: f"{m.kind}:{m.name}")
def test_pinned(method: Method) -> None:
    file, _, name = method.test.partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert name.split("[")[0] in names, f"{method.kind} {method.name} is pinned by {method.test}, which does not exist"
    assert method.part.__doc__, f"{method.kind} {method.name} has no docstring"


def test_bibliography() -> None:
    for key, paper in bibliography().items():
        assert {"title", "authors", "year"} <= paper.keys(), key
        assert paper.get("arxiv") is None or len(paper["arxiv"].split(".")) == 2 or "/" in paper["arxiv"], key


def test_command_lists_them() -> None:
    done = CliRunner().invoke(app, ["methods", "--json"])
    assert done.exit_code == 0
    listed = {(line["kind"], line["name"]) for line in json.loads(done.stdout)}
    assert listed == {(method.kind, method.name) for method in all_methods()}
    assert {"gfpo", "dcpo", "trust-region", "c-morl"} <= {name for kind, name in listed if kind == "recipe"}
