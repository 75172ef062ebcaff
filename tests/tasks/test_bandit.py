"""The bandit task: its rewards, its front against brute force, its data's shares, and a base model that is exact."""

import itertools
import json
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import moocore
import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, AutoTokenizer

from moalign.errors import ConfigError, UnknownNameError
from moalign.tasks import bandit


def volume(points: list[tuple[float, float]]) -> float:
    return moocore.hypervolume(torch.tensor(points, dtype=torch.float64).numpy(), ref=[0.0, 0.0], maximise=True)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bandit.write_base(tmp_path_factory.mktemp("models") / "bandit")


# --- rewards and front ------------------------------------------------------------------------------------------------


def test_rewards_of_every_arm_and_of_none() -> None:
    columns: dict[str, Any] = {"prompts": ["0007>"] * 7, "completions": ["A", "B", "C", "D", "", "AA", "7"]}
    assert bandit.x(**columns, trainer_state=None) == [1.0, 0.0, 0.3, 0.1, 0.0, 0.0, 0.0]
    assert bandit.y(**columns, trainer_state=None) == [0.0, 1.0, 0.3, 0.1, 0.0, 0.0, 0.0]


def test_no_sample_lies_above_the_front() -> None:
    replies = ["".join(letters) for n in range(3) for letters in itertools.product("ABCD0>", repeat=n)]
    assert max(map(sum, zip(bandit.x(replies), bandit.y(replies)))) == 1.0


def test_the_criteria_choose_different_arms() -> None:
    for k in range(11):  # linear weights: an end is best, C (0.3 whatever the weights) never
        w = k / 10
        values = {arm: w * a + (1 - w) * b for arm, (a, b) in bandit.ARMS.items()}
        assert max(values["A"], values["B"]) >= 0.5 > values["C"]
    # equal weights: Chebyshev regrets of samples are max(0, 1) for A and B, 1 - 0.3 for C; of their means
    # max(1 - 0.5, 1 - 0.5) = 0.5 for the mixture of A and B
    regrets = {arm: max(1 - a, 1 - b) for arm, (a, b) in bandit.ARMS.items()}
    assert min(regrets, key=regrets.__getitem__) == "C" and regrets["C"] == 0.7 > 0.5


@pytest.mark.parametrize("members", range(1, 9))
def test_optimum_is_the_volume_of_the_inner_points(members: int) -> None:
    points = bandit.front(members, ends=False)
    assert volume(points) == pytest.approx(bandit.optimum(members), abs=1e-12)
    assert all(a + b == pytest.approx(1, abs=1e-12) for a, b in points)


@pytest.mark.parametrize(("members", "cuts"), [(1, 20), (2, 18), (3, 16), (4, 15)])
def test_no_points_of_a_lattice_cover_more(members: int, cuts: int) -> None:
    # cuts is a multiple of members + 1, so the best points are among the lattice of all mixtures of A and B
    lattice = [(k / cuts, 1 - k / cuts) for k in range(cuts + 1)]
    best = max(itertools.combinations(lattice, members), key=lambda points: volume(list(points)))
    assert volume(list(best)) == pytest.approx(bandit.optimum(members), abs=1e-12)
    assert torch.tensor(best).allclose(torch.tensor(bandit.front(members, ends=False)))


@pytest.mark.parametrize("members", range(5, 9))
def test_no_random_mixtures_cover_more(members: int) -> None:
    generator = torch.Generator().manual_seed(members)
    shares = torch.rand(100, members, 4, generator=generator) ** 4
    mixtures = shares / shares.sum(dim=2, keepdim=True) @ torch.tensor(list(bandit.ARMS.values()))
    near = torch.tensor(bandit.front(members, ends=False)) + 0.02 * torch.randn(100, members, 2, generator=generator)
    near = near / near.sum(dim=2, keepdim=True).clamp(min=1.0)  # back to where mixtures are
    assert max(volume(points) for points in [*mixtures.tolist(), *near.tolist()]) < bandit.optimum(members)


def test_front_with_ends() -> None:
    assert bandit.front(5) == [(0.0, 1.0), (0.25, 0.75), (0.5, 0.5), (0.75, 0.25), (1.0, 0.0)]
    assert volume(bandit.front(5)) == pytest.approx(bandit.optimum(3)) == 3 / 8  # ends cover nothing: 3 / (2 * 4)
    with pytest.raises(ConfigError, match="`count` must be at least 2, not 1"):
        bandit.front(1)
    with pytest.raises(ConfigError, match="`members` must be at least 1, not 0"):
        bandit.optimum(0)


# --- data -------------------------------------------------------------------------------------------------------------


def test_splits_share_no_prompt() -> None:
    splits = [[row["prompt"] for row in bandit.prompts(name)] for name in ("train", "dev", "test")]
    assert [len(rows) for rows in splits] == [4880, 1024, 4096]
    assert len({prompt for rows in splits for prompt in rows}) == 4880 + 1024 + 4096 == 10_000
    with pytest.raises(UnknownNameError, match="no `split` is called `tests`; did you mean test"):
        bandit.prompts("tests")


def test_texts_have_the_base_shares() -> None:
    lines = bandit.texts(4000, seed=3)
    counts = Counter(line["completion"] for line in lines)
    for arm, share in bandit.BASE.items():  # within four standard deviations
        assert abs(counts[arm] / 4000 - share) < 4 * math.sqrt(share * (1 - share) / 4000)
    assert {line["prompt"] for line in lines} <= {row["prompt"] for row in bandit.prompts("train")}
    assert bandit.texts(10, seed=3) == lines[:10] != bandit.texts(10, seed=4)


def test_pairs_are_judged_by_x() -> None:
    made = bandit.pairs(6000, seed=5)
    won = Counter((pair["chosen"], pair["rejected"]) for pair in made)
    for first, second in itertools.combinations("ABCD", 2):
        total = won[first, second] + won[second, first]
        expected = torch.tensor(bandit.ARMS[first][0] - bandit.ARMS[second][0]).sigmoid().item()
        assert abs(won[first, second] / total - expected) < 4 * math.sqrt(expected * (1 - expected) / total)
    assert not any(pair["chosen"] == pair["rejected"] for pair in made)
    assert bandit.pairs(10, seed=5) == made[:10]


# --- base model -------------------------------------------------------------------------------------------------------


def test_tokenizer_round_trip(tmp_path: Path) -> None:
    bandit.tokenizer().save_pretrained(tmp_path)
    for tokens in (bandit.tokenizer(), AutoTokenizer.from_pretrained(tmp_path)):
        assert tokens("0417>A<eos>")["input_ids"][-2:] == [tokens.convert_tokens_to_ids("A"), tokens.eos_token_id]
        assert tokens.decode(tokens("A<eos>")["input_ids"], skip_special_tokens=True) == "A"
        assert tokens("x\n")["input_ids"] == [tokens.unk_token_id] * 2
        assert tokens(["A", "0417>"], padding=True)["input_ids"][0][:4] == [tokens.pad_token_id] * 4  # on the left


def test_base_names_arms_in_the_declared_shares(base: Path) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    tokens = AutoTokenizer.from_pretrained(base)
    read = tokens([row["prompt"] for row in bandit.prompts("dev")], return_tensors="pt")["input_ids"]
    arms = tokens.convert_tokens_to_ids(list(bandit.ARMS))
    with torch.no_grad():
        shares = model(input_ids=read).logits[:, -1].softmax(-1)[:, arms]
        named = torch.cat([read[:4], torch.tensor(arms)[:, None]], dim=1)
        ends = model(input_ids=named).logits[:, -1].softmax(-1)[:, tokens.eos_token_id]
    assert_close(shares.mean(dim=0), torch.tensor(list(bandit.BASE.values())), atol=0.005, rtol=0)
    assert shares.std(dim=0).max() < 0.02  # whatever the number
    assert ends.min() > 0.99


def test_base_is_reused_replaced_and_never_overwrites(base: Path, tmp_path: Path, monkeypatch) -> None:
    state = torch.random.get_rng_state()
    before = (base / "model.safetensors").stat().st_mtime_ns
    assert bandit.write_base(base) == base and (base / "model.safetensors").stat().st_mtime_ns == before
    monkeypatch.setitem(bandit.TRAINING, "steps", 2)
    short = bandit.write_base(tmp_path / "short")
    weights = (short / "model.safetensors").read_bytes()
    assert (bandit.write_base(tmp_path / "again") / "model.safetensors").read_bytes() == weights
    monkeypatch.setitem(bandit.TRAINING, "steps", 3)
    assert (bandit.write_base(short) / "model.safetensors").read_bytes() != weights
    assert json.loads((short / "bandit.json").read_text())["steps"] == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "short"]  # nothing partial is left
    assert torch.equal(torch.random.get_rng_state(), state)  # the caller's random numbers are left alone
    for name, text in (("thesis.txt", "years of work"), ("base.json", '{"characters": "0123"}')):
        other = tmp_path / name.split(".")[0]
        other.mkdir()
        (other / name).write_text(text)
        with pytest.raises(ConfigError, match=r"`directory` .* holds something else"):
            bandit.write_base(other)
        assert (other / name).read_text() == text


def test_command_line(base: Path, tmp_path: Path, capsys) -> None:
    bandit.main([str(base)])
    assert capsys.readouterr().out.split()[-1] == str(base)
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SystemExit):
        bandit.main([str(tmp_path)])
    assert "`directory`" in capsys.readouterr().err


def test_import_is_light() -> None:
    code = """import sys, moalign.tasks.bandit as task; task.pairs(2)
print(sorted({"torch", "transformers", "rich"} & set(sys.modules)))"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
