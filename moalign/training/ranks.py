"""The processes of one run, as `torchrun` or `accelerate launch` started them: what each tells the others.

Parameters are sampled and trained where they are; records, points and checkpoints travel, from host memory over gloo.
Every exchange is answered by all processes: one that fails says so in place of whatever the others wait for.
"""

import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from moalign.errors import MoalignError, RunError
from moalign.models import best_device
from moalign.training.stopping import Stopping

T = TypeVar("T")

PATIENCE = timedelta(days=1)  # a process that has died is noticed at once; one that is slow may be waited for
log = logging.getLogger("moalign")
_entered: list["Ranks"] = []


@dataclass(frozen=True)
class Failed:
    """What a process says in place of its answer."""

    status: int
    shows: bool = True  # why; else it has heard of it


class Ended(SystemExit):
    """Another process has failed, and shows why: this one ends with its status and says nothing."""

    known = True  # to all; else to those that hold the same members


class Lost(RunError):
    """Another process has gone without a word."""


@dataclass(frozen=True)
class Ranks:
    """This process among those of one run; alone by default.

    Each holds members of its own (`share`). Where there are fewer members than processes, those that hold the same
    ones are a team, which splits their rows (`moalign.mates.Mates`).

    >>> Ranks().all("a"), Ranks(rank=1, size=2).share(3), Ranks().leads
    (['a'], range(1, 3), True)
    >>> three = [Ranks(rank, size=3, many=2) for rank in range(3)]
    >>> [(r.team, r.part, r.parts) for r in three]
    [(0, 0, 2), (0, 1, 2), (1, 0, 1)]
    """

    rank: int = 0
    size: int = 1
    group: Any = None  # of `torch.distributed`; None: the default one
    many: int = 0  # teams; 0: as many as processes
    own: Any = None  # this team's group

    @property
    def leads(self) -> bool:
        """Whether this process writes, and speaks to a person."""
        return self.rank == 0

    def share(self, count: int) -> range:
        """Return which of `count` members are this process's own."""
        many = self.many or self.size
        return range(self.team * count // many, (self.team + 1) * count // many)

    @property
    def team(self) -> int:
        """The number of this process's team."""
        return self._team_of(self.rank)

    @property
    def part(self) -> int:
        """This process's number in its team."""
        return self.rank - self._team_members(self.team)[0]

    @property
    def parts(self) -> int:
        """How many processes its team has."""
        return len(self._team_members(self.team))

    def _team_of(self, rank: int) -> int:
        return rank * (self.many or self.size) // self.size

    def _team_members(self, team: int) -> list[int]:
        return [rank for rank in range(self.size) if self._team_of(rank) == team]

    @contextmanager
    def teams(self, members: int) -> "Iterator[Ranks]":
        """Divide the processes into at most as many teams as there are members, and leave together."""
        if members >= self.size:
            yield self
            return
        made = replace(self, many=members)
        groups = [dist.new_group(made._team_members(team), timeout=PATIENCE, backend="gloo") for team in range(members)]
        made = replace(made, own=groups[made.team])
        try:
            yield made
            with suppress(Lost):
                made.exchange(None)
        except (Ended, Lost):
            raise
        except (Exception, SystemExit) as error:
            with suppress(Lost):
                made._in_team(Failed(status_of(error)))
            raise
        finally:
            with suppress(Exception):  # broken by a process that is gone
                dist.destroy_process_group(made.own)

    def exchange(self, value: T) -> list[T]:
        """Return what every process of the team says, in their order."""
        if self.parts == 1:
            return [value]
        found = self._in_team(value)
        failed = [said.status for said in found if isinstance(said, Failed)]
        if failed:
            ended = Ended(failed[0])
            ended.known = False
            raise ended
        return found

    def summed(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return each tensor's sum over the team, the same to the bit in all of its processes."""
        if self.parts == 1:
            return list(tensors)
        self.exchange(None)  # nobody has failed
        flat = torch.cat([x.detach().flatten().float().cpu() for x in tensors])
        with _noticing():
            dist.all_reduce(flat, group=self.own)
        cut = flat.split([x.numel() for x in tensors])
        return [total.view(x.shape).to(x) for total, x in zip(cut, tensors)]

    def _in_team(self, value: Any) -> list[Any]:
        found: list[Any] = [None] * self.parts
        with _noticing():
            dist.all_gather_object(found, value, group=self.own)
        return found

    def each(self, value: T) -> list[T]:
        """Return what the first process of every team says, in the order of their members."""
        said = self.all(value if self.part == 0 else None)
        return [cast(T, said[self._team_members(team)[0]]) for team in range(self.many or self.size)]

    def all(self, value: T) -> list[T]:
        """Return what every process says, in their order."""
        if self.size == 1:
            return [value]
        self.exchange(None)  # so that a failure in the team is heard in it first
        found = self._exchanged(value)
        failed = [said.status for said in found if isinstance(said, Failed)]
        if failed:
            raise Ended(failed[0])
        return found

    def first(self, work: Callable[[], T]) -> T:
        """Do `work` in the first process alone, and return its result in all of them."""
        result = work() if self.leads else None
        if self.size == 1:
            return cast(T, result)
        found = [pickle.dumps(result)]
        self.all(None)  # nobody has failed, and in what follows nobody can
        with _noticing():
            dist.broadcast_object_list(found, src=0, group=self.group)
        return pickle.loads(found[0])

    def to_first(self, value: T) -> list[T] | None:
        """Return to the first process what the first of every team says, and None to the others."""
        if self.size == 1:
            return [value]
        said = pickle.dumps(value if self.part == 0 else None)
        self.all(None)
        found: list[Any] | None = [None] * self.size if self.leads else None
        with _noticing():
            dist.gather_object(said, found, dst=0, group=self.group)
        if found is None:
            return None
        return [pickle.loads(found[self._team_members(team)[0]]) for team in range(self.many or self.size)]

    def say_failed(self, status: int, *, shows: bool = True) -> bool:
        """Tell the others, and return whether it is for this process to show why."""
        if self.size == 1:
            return True
        found = self._exchanged(Failed(status, shows))
        return shows and not any(isinstance(said, Failed) and said.shows for said in found[: self.rank])

    def _exchanged(self, value: Any) -> list[Any]:
        found: list[Any] = [None] * self.size
        with _noticing():
            dist.all_gather_object(found, value, group=self.group)
        return found


ALONE = Ranks()


class Agreed(Stopping):
    """A request to stop that has reached one process, taken up by all after the same step."""

    def __init__(self, ranks: Ranks, heard: Stopping):
        super().__init__()
        self.ranks, self.heard = ranks, heard

    def agree(self) -> None:
        """Ask everybody; all get the same answer."""
        self.asked = any(self.ranks.all(self.heard.asked))

    def __enter__(self) -> "Agreed":
        self.heard.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.heard.__exit__(*error)


@contextmanager
def together() -> Iterator[Ranks]:
    """Enter the processes of this run; they leave together. Inside itself, the same ones.

    Whatever one of them raises is raised there, by the first of several; the others end with its exit status.
    """
    if _entered:
        yield _entered[0]
        return
    ranks, level = _started(), log.level
    if not ranks.leads:
        log.setLevel(logging.CRITICAL)  # one process warns for all
    _entered.append(ranks)
    try:
        yield ranks
        with suppress(Lost):  # there is nothing left to do
            ranks.all(None)
    except Lost:
        raise
    except Ended as ended:
        if not ended.known:
            ranks.say_failed(status_of(ended), shows=False)
        raise
    except (Exception, SystemExit) as error:
        status = status_of(error)
        if ranks.say_failed(status):
            raise
        raise Ended(status) from None
    finally:
        _entered.clear()
        log.setLevel(level)


def status_of(error: BaseException) -> int:
    """Return the exit status that an error ends the command line with."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return getattr(error, "exit_code", 2 if isinstance(error, MoalignError) else 1)


def launched() -> int:
    """Return how many processes a launcher has started for this run."""
    told = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()
    return int(os.environ["WORLD_SIZE"]) if told else 1


def _started() -> Ranks:
    if launched() == 1:
        return Ranks()
    if torch.cuda.is_available():
        torch.cuda.set_device(best_device())  # for rewards of the study's own that say "cuda"
    if dist.is_initialized() and dist.get_backend() != "gloo":  # by an Accelerator of the study's own
        return Ranks(dist.get_rank(), dist.get_world_size(), dist.new_group(backend="gloo", timeout=PATIENCE))
    if not dist.is_initialized():
        dist.init_process_group("gloo", timeout=PATIENCE)
    return Ranks(dist.get_rank(), dist.get_world_size())


@contextmanager
def _noticing() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo's own, whatever broke
        raise Lost("another process of this run is gone; the same command goes on from the last checkpoint.") from error
