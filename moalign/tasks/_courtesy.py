"""The hidden judge of the replies task: what each wording is worth, and the true courtesy of a reply."""

import math
import re

from moalign.errors import ConfigError

KINDS = {
    "delivery": ("late", "lost", "missing"),
    "defect": ("broken", "torn", "dirty", "noisy"),
    "taste": ("small", "big", "dull"),  # nobody's fault: an apology is hardly owed
}

# the parts of a reply, each with its share of the texts and, per wording, its share and its worth to the judge
PARTS = {
    "greeting": (0.5, {"hello": (0.6, 0.3), "dear customer": (0.4, 0.6)}),
    "apology": (0.5, {"sorry": (0.5, 0.3), "we are sorry": (0.5, 0.8)}),
    "promise": (0.4, {"rest assured": (0.5, 0.35), "all is well": (0.5, 0.7)}),
    "closing": (0.5, {"thanks": (0.5, 0.15), "thank you": (0.3, 0.45), "kind regards": (0.2, 0.45)}),
}
RUDE = {"whatever": -0.6, "calm down": -0.8}
START, CURT, REPEATED, UNOWED = 0.2, -0.3, -0.15, 0.25  # what u starts from; per sum, per word said again; a factor


def kind_of(problem: str) -> str:
    """Return the kind of a problem."""
    return next(kind for kind, problems in KINDS.items() if problem in problems)


def judge(prompt: str, text: str) -> float:
    r"""Return the true courtesy of a reply, :math:`\max(0, 1 - e^{-u})`: each further kindness counts for less.

    u adds up the worth of the wordings in `PARTS` (a greeting only in front, a closing only at the end, one of each
    part), and takes off for rudeness, for a shown sum, which is curt, and for each word said again. An apology that
    nobody owes has a quarter of its worth.

    >>> question = "order 4 7 late wants money =>"
    >>> [round(judge(question, text), 3) for text in ("refund 4 7", "hello sorry refund 4 7 thank you", "calm down")]
    [0.181, 0.713, 0.0]
    """
    asked = re.match(r"order \d \d (\w+) wants", prompt)
    if asked is None:
        raise ConfigError(f"`judge` needs prompts like 'order 4 7 late wants money =>', not {prompt!r}.")
    said = f" {' '.join(text.split())} "
    u = START + sum(worth * said.count(f" {words} ") for words, worth in RUDE.items())
    for part, (_, wordings) in PARTS.items():
        placed = {"greeting": said.startswith, "closing": said.endswith}.get(part, said.__contains__)
        worth = max((worth for words, (_, worth) in wordings.items() if placed(f" {words} ")), default=0.0)
        u += worth * (UNOWED if part == "apology" and kind_of(asked[1]) == "taste" else 1.0)
    words = [word for word in said.split() if not word.isdigit()]
    u += CURT * ("plus" in words) + REPEATED * (len(words) - len(set(words)))
    return max(0.0, 1 - math.exp(-u))
