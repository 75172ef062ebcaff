"""The probes of the architecture: real methods, each one small file, through a loop that knows none of them."""

import ast
from pathlib import Path

from pytest import mark

PACKAGE = Path(__file__).parents[1] / "moalign"
PROBES = [
    "rollouts/gfpo.py",
    "rollouts/ar3po.py",
    "rollouts/knapsack.py",
    "rollouts/scored_pairs.py",
    "rollouts/reward_targets.py",
    "rollouts/rewards_in_context.py",
    "rollouts/asked_rewards.py",
    "rollouts/best_rewards.py",
    "training/in_context.py",
    "rollouts/segmented.py",
    "credit/_routed.py",
    "losses/policy/_dcpo.py",
    "losses/policy/_correction.py",
    "losses/balanced.py",
    "losses/positives.py",
    "losses/by_term.py",
    "credit/_generalized.py",
    "credit/_gae.py",
    "losses/preference/_modpo.py",
    "rollouts/best_worst.py",
    "rollouts/previous_iterate.py",
    "losses/preference/_mixture.py",
    "weighting/grpo_lambda.py",
    "training/line_search.py",
    "training/gap_fill.py",
]


def code_lines(file: Path) -> int:
    """Return how many lines are neither blank nor in the docstring of the module or of a class."""
    text = file.read_text(encoding="utf-8")
    prose: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef) and ast.get_docstring(node) is not None:
            prose |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return sum(bool(line.strip()) for n, line in enumerate(text.splitlines(), 1) if n not in prose)


@mark.parametrize("probe", PROBES)
def test_a_probe_is_one_small_file(probe: str) -> None:
    assert code_lines(PACKAGE / probe) <= 40


def test_counts_code(tmp_path: Path) -> None:
    file = tmp_path / "part.py"
    file.write_text('"""One\nmodule."""\n\nimport a\n\n\nclass B:\n    """Text."""\n\n    # why\n    c = 1\n')
    assert code_lines(file) == 4  # import, class, comment, field
