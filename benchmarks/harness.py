"""What every benchmark shares: the same work side by side, no time without equal values, one way to report."""

import json
import logging
import os
import platform
import resource
import subprocess
import time
import warnings
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

RECORDS = Path(__file__).parents[1] / "docs" / "results" / "benchmarks"  # figures on the page of results


@dataclass(frozen=True)
class Claim:
    """A measured figure, ours beside a rival's; a rival of None means that there is nothing to compare with."""

    name: str
    ours: float
    rival: float | None
    unit: str
    repeats: int

    @property
    def ratio(self) -> float | None:
        """Ours over the rival's: below 1 is less."""
        return None if self.rival is None or self.rival == 0 else self.ours / self.rival


class Different(Exception):
    """The two did not compute the same: their times must not be compared."""


def seconds(work: Callable[[], Any]) -> float:
    """Return how long a call takes, a GPU's queue included."""
    synchronize()
    began = time.perf_counter()
    work()
    synchronize()
    return time.perf_counter() - began


def quiet() -> None:
    """Keep libraries' bars, notes and warnings off the terminal: a benchmark prints figures."""
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    warnings.simplefilter("ignore")
    logging.getLogger("moalign").setLevel(logging.ERROR)
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def peak_mb() -> float:
    """Return the most memory this process has held so far: resident, or allocated on a GPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def parser(name: str, description: str, examples: str) -> ArgumentParser:
    """Return a command line with what all benchmarks take."""
    made = ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=RawDescriptionHelpFormatter,
    )
    made.add_argument("--json", action="store_true", help="print one JSON object")
    where = f"docs/results/benchmarks/{name}.json"
    made.add_argument("--record", action="store_true", help=f"keep the figures for the page, in {where}")
    return made


def report(claims: Sequence[Claim], as_json: bool, *, record: str | None = None) -> None:
    """Print the claims as a table or as one JSON object; with `record`, keep them under that name for the page."""
    found = as_record(claims)
    if record is not None:
        RECORDS.mkdir(parents=True, exist_ok=True)
        (RECORDS / f"{record}.json").write_text(_dumped(found) + "\n", encoding="utf-8")
    if as_json:
        print(_dumped(found))
        return
    wide = max(len(claim.name) for claim in claims)
    print(f"{'':{wide}}  {'ours':>10}  {'rival':>10}  {'ratio':>6}  unit  (median of repeats)")
    for claim in claims:
        ratio = "" if claim.ratio is None else f"{claim.ratio:.2f}"
        rival = "" if claim.rival is None else f"{claim.rival:.4g}"
        print(f"{claim.name:{wide}}  {claim.ours:>10.4g}  {rival:>10}  {ratio:>6}  {claim.unit}  ({claim.repeats})")
    print(found["machine"])


def as_record(claims: Sequence[Claim]) -> dict[str, Any]:
    """Return the claims and what made them, as JSON data."""
    each = [
        {"name": c.name, "ours": c.ours, "rival": c.rival, "ratio": c.ratio, "unit": c.unit, "repeats": c.repeats}
        for c in claims
    ]
    return {"claims": each, "machine": machine(), "commit": commit()}


def _dumped(record: dict[str, Any]) -> str:
    return json.dumps(record, indent=1, allow_nan=False)


def machine() -> str:
    """Return processor, threads, accelerator and torch in words."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    device = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    processor = names[0] if names else platform.processor() or platform.machine()
    count = torch.get_num_threads()
    return f"{processor}, {count} thread{'s' if count > 1 else ''}{device}, torch {torch.__version__}"


def commit() -> str:
    """Return the commit of this checkout, marked when files differ from it."""
    root = Path(__file__).parents[1]
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    found = subprocess.run(command, cwd=root, capture_output=True, text=True)
    return found.stdout.strip() or "unknown"
