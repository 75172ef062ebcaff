"""Segments of completions, whatever the tokens look like."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from moalign import recipes
from moalign.records import Environment, Policy, Rows
from moalign.rollouts.ar3po import AR3PO
from moalign.rollouts.collect import Pairs
from moalign.rollouts.rounds import joined
from moalign.rollouts.segmented import Segmented


class Nobody(Policy):
    """Cutting asks the policy nothing: the wrapped collector does."""


@dataclass(frozen=True)
class Pieces(Environment):
    """A token's bytes are a piece of the vocabulary; bytes that are no text yet read as �."""

    vocabulary: Sequence[bytes]

    def decode(self, tokens: list[list[int]]) -> list[str]:
        return [b"".join(self.vocabulary[i] for i in line).decode(errors="replace") for line in tokens]


def rows_of(lines: list[list[int]], width: int) -> Rows:
    n = len(lines)
    tokens = torch.tensor([line + [0] * (width - len(line)) for line in lines])
    mask = torch.arange(width) < torch.tensor([[len(line)] for line in lines])
    ones, numbers = torch.ones(n, 1, dtype=torch.long), torch.arange(n)
    return Rows(
        1, ones[:, 0] * 0, numbers, numbers, ones, ones.bool(), tokens, mask, mask, mask.any(1), torch.ones(n), numbers
    )


def segments(completions: list[list[bytes]], **options: Any) -> list[list[int]]:
    """Return the segments of completions that are given as the pieces their tokens stand for."""
    vocabulary = sorted({piece for line in completions for piece in line})
    lines = [[vocabulary.index(piece) for piece in line] for line in completions]
    rows = rows_of(lines, max(map(len, lines)))
    part = Segmented(inner=lambda policy, env, state, now: (rows, state), **options)
    cut, state = part(Nobody(), Pieces(vocabulary), {"mark": 1}, None)
    assert state == {"mark": 1} and cut.segment_names == part.segment_names and cut.segments is not None
    return [line[: len(given)] for line, given in zip(cut.segments.tolist(), lines)]


END = b""  # what the end token leaves of itself


def test_cuts_by_hand() -> None:
    found = segments([
        [b"1", b"2", b"#", b"7", END],  # the delimiter closes the segment before it
        [b"1", b"7", END],  # none: one segment
        [b"#", b"7", b"#", b"8"],  # only the first one counts
        [b"1", b"#", END],  # nothing but the end behind it: that the text ends there is what follows
        [b"1", b"#"],
    ])  # fmt: skip
    assert found == [[0, 0, 0, 1, 1], [0, 0, 0], [0, 1, 1, 1], [0, 0, 1], [0, 0]]


def test_a_delimiter_inside_a_token_and_over_several() -> None:
    assert segments([[b"1", b" #", b"7"], [b"1", b"#7", b"8"], [b"a#b", b"7"]]) == [[0, 0, 1], [0, 1, 1], [1, 1]]
    found = segments([[b"so", b"</", b"think", b">", b" 7"], [b"<", b"/think>7", b"1"]], delimiters=("</think>",))
    assert found == [[0, 0, 0, 0, 1], [0, 1, 1]]


def test_characters_of_several_tokens_do_not_shift_the_cut() -> None:
    # an emoji of four bytes reads as one to three � until it is whole: the text grows and shrinks again
    face = "😀".encode()
    assert segments([[face[:1], face[1:2], face[2:3], face[3:], b"#", b"7"]]) == [[0, 0, 0, 0, 0, 1]]
    assert segments([[b"a", face[:2], face[2:], b"7"]], delimiters=("😀",)) == [[0, 0, 0, 1]]


def test_delimiters_in_their_order() -> None:
    names = ("plan", "work", "answer")
    found = segments(
        [[b"a", b"|", b"b", b"#", b"c"], [b"a", b"#", b"b", b"|", b"c"], [b"a", b"|#", b"c"], [b"a", b"#", b"c"]],
        delimiters=("|", "#"),
        segment_names=names,
    )
    # `#` before `|`, or without it, is not looked for; a token that holds both is the segment between them
    assert found == [[0, 0, 1, 1, 2], [0, 0, 0, 0, 1], [0, 1, 2], [0, 0, 0]]


def test_the_same_as_prefix_by_prefix() -> None:
    """An oracle without a search: a token is behind the cut if what precedes it holds the delimiter, or it goes on."""
    generator = torch.Generator().manual_seed(0)
    pieces = [b"a", b"#", b"a#", b"##", b"-", b"-#", b"#-a", END]
    lines = [[pieces[i] for i in torch.randint(8, (9,), generator=generator).tolist()] for _ in range(40)]
    for given, found in zip(lines, segments(lines, delimiters=("#-",))):
        expected = []
        for i in range(len(given)):
            before, upto = b"".join(given[:i]), b"".join(given[: i + 1])
            inside = b"#-" in upto and not upto[upto.index(b"#-") + 2 :] == b""
            expected.append(int(b"#-" in before or inside))
        assert found == expected


def test_with_a_byte_level_tokenizer() -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: i for i, piece in enumerate(["<eos>", *alphabet, "#7", "1#7", "Ġ#"])}  # Ġ is a blank
    model = models.BPE(vocab=vocabulary, merges=[("#", "7"), ("1", "#7"), ("Ġ", "#")])
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")

    class Read(Pieces):
        def decode(self, tokens: list[list[int]]) -> list[str]:
            texts: Any = fast.batch_decode(tokens, skip_special_tokens=True)
            return texts

    lines = [[*ids, 0] for ids in fast(["é1#78", "2 # 3", "é2"])["input_ids"]]
    assert [fast.convert_ids_to_tokens(line)[-4:] for line in lines[:2]] == [
        ["©", "1#7", "8", "<eos>"], ["Ġ#", "Ġ", "3", "<eos>"],
    ]  # fmt: skip
    rows = rows_of(lines, 5)
    cut, _ = Segmented(inner=lambda *given: (rows, {}))(Nobody(), Read(()), {}, None)
    assert cut.segments is not None
    assert cut.segments.tolist() == [[0, 0, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 0, 0, 0]]


def test_nothing_to_cut() -> None:
    rows = rows_of([[1], [1]], 3)
    none = replace(rows.select(torch.tensor([], dtype=torch.long)), members=1)
    cut, _ = Segmented(inner=lambda *given: (none, {}))(Nobody(), Pieces((b"",)), {}, None)
    assert cut.segments is not None and cut.segments.shape == (0, 3)


def test_rounds_are_joined_with_their_segments() -> None:
    long, short = rows_of([[1, 2, 3]], 3), rows_of([[1]], 1)
    both = joined(
        replace(long, segments=torch.tensor([[0, 1, 1]]), segment_names=("a", "b")),
        replace(short, segments=torch.tensor([[1]]), segment_names=("a", "b"), group=torch.ones(1, dtype=torch.long)),
    )
    assert both.segments is not None and both.segments.tolist() == [[0, 1, 1], [1, 0, 0]]
    assert both.segment_names == ("a", "b")


def test_says_what_is_wrong_with_its_options_and_with_what_it_wraps() -> None:
    recipe = recipes.f_grpo(num_generations=5)
    assert Segmented().problems(recipe) == []
    for options in ({"delimiters": ("|", "#")}, {"delimiters": ("",)}, {"segment_names": ("one", "one")},
                    {"delimiters": ("a", ""), "segment_names": ("x", "y", "z")}):  # fmt: skip
        (problem,) = Segmented(**options).problems(recipe)
        assert problem.startswith("`delimiters` are texts, `segment_names` one name more; got (")
    assert "`rounds` must divide" in Segmented(inner=AR3PO(rounds=2)).problems(recipe)[0]
    assert Segmented(inner="ar3po") == Segmented(inner=AR3PO())
    assert Segmented(inner=Pairs()).columns == ("chosen", "rejected") and Segmented().columns == ()
