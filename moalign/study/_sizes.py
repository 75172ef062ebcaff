"""What a study takes in memory, and how many members fit."""

from bisect import bisect_right
from dataclasses import replace
from pathlib import Path

import torch

from moalign.policies.hf import ModelPolicy
from moalign.policies.scoring import cuts, pass_overhead
from moalign.study._work import Work

MOST = 1 << 14  # members that are looked for
BATCH = 64  # prompts that valuing completes at a time; the default of `evaluate`
CPU = 60 << 20  # bytes: threads, their pools, and modules that are imported on the way


def waves(work: Work, requests: int, n: int, members: int) -> list[int]:
    """Return the rows of each wave in which `requests` prompts of every member are completed `n` times."""
    together = 1 if work.apart else members
    size = requests if work.sample_rows is None else max(work.sample_rows // (together * n), 1)
    one = [min(size, requests - i) * n * together for i in range(0, requests, size)]
    return one * (members // together)


def memory(work: Work, *, held: int = 0) -> int:
    """Return the bytes at a run's peak, on the device that trains; `held` is what is taken before.

    The model and the members stand all the time. Then it is the largest of sampling (keys and values of the rows that
    still go on, logits), of a micro-batch's forward and backward pass (what is kept for each token, logits), and of
    the update (both optimizer states, old and new, and the gradients). On a CPU, what one stage frees is too scattered
    for the next one to use: there stages add up, and a cache that grows leaves holes as large as itself.
    """
    own, base = work.members * work.member, work.parameters * work.itemsize
    sampling = max(
        _sampling(work, waves(work, work.prompts, work.group, work.members)[0]) if work.sampled else 0,
        _sampling(work, waves(work, min(BATCH, max(work.valued)), 1, work.behaviours)[0]),
    )
    training, update = own * (1 + work.channels) + _training(work), own * (3 + work.channels)
    if work.device == "cpu":
        return held + CPU + base + 3 * own + 2 * sampling + max(training, update)
    return held + base + 3 * own + max(sampling, training, update)  # parameters and two running means


def _sampling(work: Work, rows: int) -> int:
    """Return the bytes while a wave is sampled, where they are most: rows leave and the others grow."""
    some = min(rows, 256)  # stand for all
    ends = work.lengths(some)
    row = work.vocabulary * (work.itemsize + 12) + (4 * work.hidden + 3 * work.inner) * work.itemsize
    token = work.cache + work.cache // work.layers  # one layer at a time is copied to grow
    going = [some - bisect_right(ends, t) for t in range(ends[-1])]
    return max(left * (row + (work.prompt + t + 1) * token) for t, left in enumerate(going)) * rows // some


def _training(work: Work) -> int:
    """Return the bytes of the largest micro-batch: what its forward pass keeps, and its last layer's gradients."""
    rows = min(work.rows, work.micro_rows or work.rows)
    different = min(work.prompts, rows)
    shared = 2 * different <= rows and not work.recompute
    ends = work.lengths(work.rows)[-rows:]
    before = 0 if shared else work.prompt
    parts = [
        (stop - start) * ends[stop - 1]
        for start, stop in cuts(ends, before=before, overhead=pass_overhead(work.device))
    ]
    read = (different if shared else rows) * work.prompt
    wide = 4 * 2 * work.hidden  # the norms work in single precision
    kept = wide + work.itemsize * (2 * work.hidden + 2 * work.queries + 2 * work.keys + 4 * work.inner)
    per_token = work.itemsize * work.hidden + kept / work.layers if work.recompute else kept
    attended = rows * work.prompt * 2 * work.keys * work.itemsize if shared else 0  # the prompt's, for every row
    logits = work.vocabulary * (work.itemsize if work.itemsize == 4 else work.itemsize + 4)
    most = ModelPolicy.max_logits / work.vocabulary  # positions: of more, logits are made a stretch at a time
    whole = [part for part in parts if part <= most or rows * ends[-1] <= most]
    made = max(whole, default=0) if len(whole) == len(parts) else max([most, *whole])
    return round(
        work.layers * (per_token * (sum(parts) + read) + attended)
        + logits * sum(whole)
        + 12 * work.vocabulary * made
        + 4 * work.inner * work.itemsize * max(parts)
    )


def fitting(work: Work, available: int, *, held: int = 0) -> int:
    """Return how many members fit into `available` bytes even when every completion takes all its tokens."""

    def takes(members: int) -> int:
        behaviours = work.behaviours if work.behaviours != work.members else members
        return memory(replace(work, members=members, behaviours=behaviours, mean=float(work.limit)), held=held)

    low, high = 0, 1
    while high <= MOST and takes(high) <= available:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if takes(middle) <= available else (low, middle)
    return low


def available() -> int | None:
    """Return the bytes that a run could take: of the GPU, or of the machine, with what this process holds already."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()
    free = _line(Path("/proc/meminfo"), "MemAvailable")
    return None if free is None else free + resident()


def resident() -> int:
    """Return the bytes of memory that this process holds now; 0 where the system does not say."""
    return _line(Path("/proc/self/status"), "VmRSS") or 0


def _line(path: Path, name: str) -> int | None:
    if not path.exists():
        return None
    found = [line for line in path.read_text().splitlines() if line.startswith(f"{name}:")]
    return int(found[0].split()[1]) * 1024 if found else None
