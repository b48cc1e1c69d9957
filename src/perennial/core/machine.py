"""Serving machines as the control plane sees them: what they must hold, what they have told, and calls to them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, Field, TypeAdapter

from perennial.core.frozen import Frozen
from perennial.core.release.counted.user_buckets import HERE, MOST_BUCKETS, LogPosition, UserBuckets, together
from perennial.core.release.traffic import Counters, PoolName, Readiness
from perennial.errors import PerennialError, ToolError
from perennial.every_error import all_errors


class WantedKind(StrEnum):
    """Kind of a thing that every serving machine must hold."""

    POOL = "pool"
    """A pool with its versions; named by the pool."""
    ROUTE = "route"
    """The live route of a model; named by the model."""
    FILES = "files"
    """Small signed files of the state folder (`serving.access.handed_files`)."""


class Wanted(Frozen):
    """A thing that every serving machine must hold. Each change of anything has the next generation."""

    kind: WantedKind
    name: str
    generation: int = Field(0, ge=0)
    body: str = Field("", description="empty: nothing of that name")


class Refusal(Frozen):
    """An error of a serving machine, by the name of its class."""

    error: str
    message: str
    hint: str = ""

    @classmethod
    def of(cls, error: PerennialError) -> Refusal:
        return cls(error=type(error).__name__, message=error.message, hint=error.hint)

    def raised(self, machine: str) -> PerennialError:
        """Return the error again, with the name of the machine."""
        kinds = {kind.__name__: kind for kind in all_errors()}
        return kinds.get(self.error, ToolError)(f"{machine}: {self.message}", hint=self.hint)


class Applied(Frozen):
    """How far a machine is with the wanted things of a kind."""

    generation: int = Field(0, ge=0, description="every change up to it was tried")
    failed: dict[str, Refusal] = Field({}, description="name -> why it is not held; tried again and again")


class MachineReport(Frozen):
    """A machine, as it reports itself: servers, progress, problems."""

    servers: dict[str, int] = Field({}, description="pool -> model servers")
    applied: dict[WantedKind, Applied] = Field({})
    problems: tuple[str, ...] = ()
    left: bool = Field(False, description="its agent was ended in order: it is no machine until it is back")


class Machine(Frozen):
    """A serving machine, with its last report."""

    name: str
    silent_s: float = Field(description="seconds since its last report")
    is_live: bool = Field(description="its lease has not ended")
    report: MachineReport

    def applied(self, wanted: Wanted) -> Refusal | bool:
        """Return whether the machine holds a thing, or why not."""
        held = self.report.applied.get(wanted.kind, Applied())
        if held.generation < wanted.generation:
            return False
        return held.failed.get(wanted.name, True)


class CallName(StrEnum):
    """Question to the agent of a machine: a method of its own router, pool or probe."""

    COUNTERS = "counters"
    USERS = "users"
    HEALTHY = "healthy"
    BACKUPS = "backups"
    DIFFERENCES = "differences"
    REPAIR = "repair"
    OVERVIEW = "overview"
    READINESS = "readiness"
    PROBLEMS = "problems"
    MEASURE = "measure"
    PREDICT = "predict"
    INFER = "infer"


class Call(Frozen):
    """A call with its arguments; the others keep their defaults."""

    name: CallName
    pool: str = ""
    model: str = ""
    digest: str = ""
    body: dict[str, Any] = Field({})
    requests: int = Field(0, ge=0)
    split: str | None = Field(None, exclude_if=lambda split: split is None)
    after: dict[str, LogPosition] = Field(
        {}, exclude_if=lambda after: not after, description="machine -> place in the log of its router"
    )


class Answer(Frozen):
    """The answer of a machine: the JSON of the value, or an error."""

    value: str = ""
    refusal: Refusal | None = None


MOST_BOUNDS = 1000
"""Most bounds of latencies of a machine."""
MOST = 2**53
"""Largest count of a machine: larger ones are made up, and would not fit a floating point number exactly."""


def _possible(counters: Counters) -> Counters:
    """Refuse counts of a machine that no router has."""
    counts = (counters.requests, counters.errors, counters.refused, counters.excused, counters.lost)
    buckets = [count for _, count in counters.buckets]
    if (
        len(buckets) > MOST_BOUNDS
        or counters.parts
        or max(*counts, *buckets) > MOST
        or min(buckets, default=0) < 0
    ):
        raise ValueError("these are no counts of a router")
    return counters


MachineCounters = Annotated[Counters, AfterValidator(_possible)]


def _possible_users(users: UserBuckets) -> UserBuckets:
    """Refuse what no router has: other pools, more buckets, counts that are made up."""
    known = {str(number) for number in range(MOST_BUCKETS)}
    pools = {str(pool) for pool in PoolName}
    for pool, buckets in users.counts.items():
        if pool not in pools or not buckets.keys() <= known:
            raise ValueError("these are no buckets of a router")
        for counters in buckets.values():
            _possible(counters)
    return users


VALUES: Mapping[CallName, TypeAdapter[Any]] = {
    CallName.COUNTERS: TypeAdapter(dict[str, MachineCounters]),
    CallName.USERS: TypeAdapter(Annotated[UserBuckets, AfterValidator(_possible_users)]),
    CallName.HEALTHY: TypeAdapter(dict[str, int]),
    CallName.BACKUPS: TypeAdapter(dict[str, int]),
    CallName.DIFFERENCES: TypeAdapter(tuple[str, ...]),
    CallName.REPAIR: TypeAdapter(None),
    CallName.OVERVIEW: TypeAdapter(list[dict[str, Any]]),
    CallName.READINESS: TypeAdapter(Readiness),
    CallName.PROBLEMS: TypeAdapter(dict[int, list[str]]),
    CallName.MEASURE: TypeAdapter(list[float]),
    CallName.PREDICT: TypeAdapter(str),
    CallName.INFER: TypeAdapter(str),
}
"""Call -> type of its value."""


class Tally(Frozen):
    """Counters of a model on a machine that grow over the restarts of its router."""

    before: dict[str, MachineCounters] = Field({}, description="pool -> counted before the last restart")
    last: dict[str, MachineCounters] = Field(
        {}, description="pool -> counted since then, when last looked at"
    )

    def seen(self, counters: Mapping[str, Counters]) -> Tally:
        """Return the tally after a look at the router."""
        restarted = any(
            counted.restarted(self.last.get(pool, Counters())) for pool, counted in counters.items()
        )
        return Tally(before=self.total if restarted else self.before, last=dict(counters))

    @property
    def total(self) -> dict[str, Counters]:
        """Return pool -> all that was counted."""
        return summed((self.before, self.last))


def summed(parts: tuple[Mapping[str, Counters], ...]) -> dict[str, Counters]:
    """Return pool -> sum of the counters of all parts."""
    pools = dict.fromkeys(pool for part in parts for pool in part)
    total = dict.fromkeys(pools, Counters())
    for part in parts:
        for pool, counted in part.items():
            total[pool] = total[pool].plus(counted)
    return total


def joined(
    by_machine: Mapping[str, Mapping[str, Counters]], pools: Iterable[str], apart: Collection[str]
) -> dict[str, Counters]:
    """Return pool -> sum over the machines, with the part of each of those that are told apart.

    Args:
        pools: those that are there without a count, too.
        apart: machines that answer; what the others have stored is in the sum alone.
    """
    total = summed((dict.fromkeys(pools, Counters()), *by_machine.values()))
    parts = {pool: {name: by_machine[name].get(pool, Counters()) for name in sorted(apart)} for pool in total}
    return {pool: counted.model_copy(update={"parts": parts[pool]}) for pool, counted in total.items()}


def joined_users(by_machine: Mapping[str, UserBuckets], after: Mapping[str, LogPosition]) -> UserBuckets:
    """Return the sums over the machines, with the part of each: a bucket has the same users on all of them.

    Args:
        after: place of the last look by machine; that of a machine that does not answer stays.
    """
    counts: dict[str, dict[str, Counters]] = {}
    for name, users in by_machine.items():
        apart = {
            pool: {
                bucket: counters.model_copy(update={"parts": {name: counters}})
                for bucket, counters in buckets.items()
            }
            for pool, buckets in users.counts.items()
        }
        counts = together(counts, apart)
    read = {name: users.read[HERE] for name, users in by_machine.items() if HERE in users.read}
    problems = tuple(f"{name}: {text}" for name, users in by_machine.items() for text in users.problems)
    return UserBuckets(counts=counts, after=dict(after), read={**after, **read}, problems=problems)
