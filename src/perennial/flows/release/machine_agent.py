"""The agent of a serving machine: it keeps here what the control plane wants, answers its calls, and reports."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

from perennial.core.machine import (
    VALUES,
    Answer,
    Applied,
    Call,
    CallName,
    MachineReport,
    Refusal,
    Wanted,
    WantedKind,
)
from perennial.core.release.traffic import PoolName, Route
from perennial.errors import PerennialError, PoolUnavailable, ToolError
from perennial.flows.release.agent_ports import AgentPorts
from perennial.serving.desired_state import DesiredState

LOOK_SECONDS = 0.1
"""Time between two looks at the database: a rollback must move the traffic within a second."""
REPORT_SECONDS = 1.0
AGAIN_SECONDS = 0.5
"""Time until what failed is tried again."""
CALLS_AT_ONCE = 4


@dataclass
class _Keeper:
    """Applies the wanted things of a kind in a thread of its own, so that a slow kind delays no other."""

    apply: Callable[[Wanted], None]
    changed: threading.Event
    """Is set when there is something to report."""
    state: Applied = field(default_factory=Applied)
    _due: dict[str, Wanted] = field(default_factory=dict)
    _failed: dict[str, Wanted] = field(default_factory=dict)
    _newest: int = 0
    _news: threading.Condition = field(default_factory=threading.Condition)

    def put(self, things: list[Wanted], newest: int) -> None:
        with self._news:
            self._due |= {wanted.name: wanted for wanted in things}
            self._newest = newest
            self._news.notify()

    def doubt(self) -> None:
        """Confirm nothing until the next look: the database was away, and may be back without its last changes."""
        with self._news:
            self._newest = 0
            self.state = self.state.model_copy(update={"generation": 0})

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            with self._news:
                self._news.wait_for(lambda: self._due or self._newest != self.state.generation, AGAIN_SECONDS)
                due, newest = {**self._failed, **self._due}, self._newest
                self._due = {}
            if due or newest != self.state.generation:
                self._apply_all(due, newest)

    def _apply_all(self, due: Mapping[str, Wanted], newest: int) -> None:
        refusals = {}
        for wanted in due.values():
            try:
                self.apply(wanted)
            except PerennialError as error:
                refusals[wanted.name] = Refusal.of(error)
            except Exception as error:  # noqa: BLE001 the thread must outlive it, and the machine must tell it
                refusals[wanted.name] = Refusal(
                    error=ToolError.__name__, message=f"{type(error).__name__}: {error}"
                )
        self._failed = {name: due[name] for name in refusals}
        state = Applied(generation=newest, failed=refusals)
        if state != self.state:
            self.state = state
            self.changed.set()


class Agent:
    """Agent of a machine. Without the database the machine goes on serving what it has."""

    def __init__(self, ports: AgentPorts, say: Callable[[str], None] = lambda line: None) -> None:
        self._ports = ports
        self._say = say
        self._said = ""
        self._unsent = ""
        self._seen = 0
        self._known: dict[tuple[WantedKind, str], Wanted] = {}
        self._changed = threading.Event()
        self._keepers = {
            WantedKind.ROUTE: _Keeper(self._route, self._changed),
            WantedKind.POOL: _Keeper(self._pool, self._changed),
            WantedKind.FILES: _Keeper(self._files, self._changed),
        }
        self._counting = threading.Lock()
        self._answering: set[str] = set()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; the machine leaves then, so that nobody waits for it."""
        threads = [
            threading.Thread(target=keeper.run, args=(stop,), daemon=True)
            for keeper in self._keepers.values()
        ]
        threads += [
            threading.Thread(target=part, args=(stop,), daemon=True)
            for part in (self._report_all, self._send_all)
        ]
        for thread in threads:
            thread.start()
        with ThreadPoolExecutor(CALLS_AT_ONCE) as pool:
            while not stop.wait(LOOK_SECONDS):
                self._attempt(lambda: self._look(pool))
        for thread in threads:
            thread.join()

    def _attempt(self, part: Callable[[], None]) -> None:
        """Do a part; an error of the database is said once, and the part is repeated by the next pass."""
        try:
            part()
        except Exception as error:  # noqa: BLE001 a thread that ends would leave a machine that looks whole
            message = error.message if isinstance(error, ToolError) else f"{type(error).__name__}: {error}"
            if message != self._said:
                self._say(message)
                self._said = message
            time.sleep(LOOK_SECONDS)

    def _look(self, pool: ThreadPoolExecutor) -> None:
        try:
            newest, things = self._ports.desk.wanted_after(self._seen)
            if newest < self._seen:  # an older copy of the database was restored
                newest, things = self._ports.desk.wanted_after(0)
        except ToolError:
            self._seen = 0
            for keeper in self._keepers.values():
                keeper.doubt()
            raise
        if newest != self._seen:
            self._take(newest, things)
        calls = self._ports.desk.calls()
        self._answering &= calls.keys()
        for number in calls.keys() - self._answering:
            self._answering.add(number)
            pool.submit(self._answer, number, calls[number])

    def _take(self, newest: int, things: Sequence[Wanted]) -> None:
        """Hand to the keepers what is not as it was; a database that is back may have lost and replaced changes."""
        changed = [wanted for wanted in things if self._known.get((wanted.kind, wanted.name)) != wanted]
        for kind, keeper in self._keepers.items():
            keeper.put([wanted for wanted in changed if wanted.kind is kind], newest)
        self._known |= {(wanted.kind, wanted.name): wanted for wanted in changed}
        self._seen = newest

    def _report_all(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._changed.clear()
            self._attempt(self._report)
            self._changed.wait(REPORT_SECONDS)
        self._attempt(lambda: self._report(left=True))

    def _report(self, left: bool = False) -> None:
        applied = {kind: keeper.state for kind, keeper in self._keepers.items()}
        problems = (self._unsent,) if self._unsent else ()
        report = MachineReport(
            servers=dict(self._ports.servers), applied=applied, problems=problems, left=left
        )
        self._ports.desk.report(report)

    def _send_all(self, stop: threading.Event) -> None:
        while not stop.wait(self._ports.send_every):
            try:
                self._ports.send_log(datetime.now(UTC))
                self._unsent = ""
            except Exception as error:  # noqa: BLE001 nothing is lost: the next pass sends it
                self._unsent = f"the log is not sent: {error}"

    def _route(self, wanted: Wanted) -> None:
        """Apply a route. On a machine that is new, the version must be loaded first."""
        if not wanted.body:
            return
        route = Route.model_validate_json(wanted.body)
        router, pool = self._ports.router, self._ports.pool
        if router.route(route.model) is None:
            digest = route.stable.digest
            if not pool.readiness(PoolName.STABLE, route.model, digest).ready:
                raise PoolUnavailable(
                    f"no stable server holds {route.model} {digest[:12]} yet", hint="it is being loaded"
                )
        router.apply(route)

    def _pool(self, wanted: Wanted) -> None:
        state = DesiredState.model_validate_json(wanted.body) if wanted.body else DesiredState()
        self._ports.pool.hold(wanted.name, state, self._ports.fetch)

    def _files(self, wanted: Wanted) -> None:
        self._ports.keep_files(wanted.body)

    def _answer(self, number: str, call: Call) -> None:
        try:
            value = VALUES[call.name].dump_json(self._called(call)).decode()
            answer = Answer(value=value)
        except PerennialError as error:
            answer = Answer(refusal=Refusal.of(error))
        except Exception as error:  # noqa: BLE001 somebody waits for an answer
            text = f"{type(error).__name__}: {error}"
            answer = Answer(refusal=Refusal(error=ToolError.__name__, message=text))
        self._attempt(lambda: self._ports.desk.answer(number, answer))

    def _called(self, call: Call) -> object:
        router, pool, probe = self._ports.router, self._ports.pool, self._ports.probe
        of_version = (call.pool, call.model, call.digest)
        match call.name:
            case CallName.COUNTERS:
                return self._counters(call.model)
            case CallName.HEALTHY:
                return router.healthy(call.model)
            case CallName.BACKUPS:
                return router.backups()
            case CallName.DIFFERENCES:
                return tuple(router.differences())
            case CallName.REPAIR:
                router.repair()
                return None
            case CallName.OVERVIEW:
                return router.overview()
            case CallName.READINESS:
                return pool.readiness(*of_version)
            case CallName.PROBLEMS:
                return pool.problems()
            case CallName.MEASURE:
                return pool.measure(*of_version, call.body, call.requests)
            case CallName.PREDICT:
                return probe.predict(*of_version, call.body)
            case CallName.INFER:
                return probe.infer(*of_version, call.body)

    def _counters(self, model: str) -> object:
        """Return counters that grow over the restarts of the router; they are stored, for when this machine is lost."""
        with self._counting:
            stored = self._ports.desk.tally(model)
            tally = stored.seen(self._ports.router.counters(model))
            if tally != stored:
                self._ports.desk.keep_tally(model, tally)
        return tally.total
