"""The agent of a serving machine: it keeps here what the control plane wants, answers its calls, and reports."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from perennial.core.machine import (
    VALUES,
    Answer,
    Call,
    CallName,
    MachineReport,
    Refusal,
    Wanted,
    WantedKind,
)
from perennial.core.release.counted.user_buckets import HERE
from perennial.errors import PerennialError, ToolError
from perennial.flows.release.machines.agent_ports import AgentPorts
from perennial.flows.release.machines.holding import Holding
from perennial.flows.release.machines.keeper import Keeper

LOOK_SECONDS = 0.1
"""Time between two looks at the database: a rollback must move the traffic within a second."""
REPORT_SECONDS = 1.0
CALLS_AT_ONCE = 4


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
        self._holding = Holding(ports, self._known_of)
        self._keepers = {
            WantedKind.ROUTE: Keeper(
                self._holding.apply_route, self._changed, self._holding.different_routes
            ),
            WantedKind.POOL: Keeper(self._holding.apply_pool, self._changed, self._holding.different_pools),
            WantedKind.FILES: Keeper(lambda wanted: ports.keep_files(wanted.body), self._changed),
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
        # First: a keeper asks which route is wanted before it takes a version from a pool.
        self._known = {**self._known, **{(wanted.kind, wanted.name): wanted for wanted in changed}}
        for kind, keeper in self._keepers.items():
            keeper.put([wanted for wanted in changed if wanted.kind is kind], newest)
        self._seen = newest

    def _known_of(self, kind: WantedKind) -> list[Wanted]:
        return [wanted for (of_kind, _), wanted in self._known.items() if of_kind is kind]

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
            self._attempt(self._ports.router.keep_log_small)

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
            case CallName.USERS:
                place = call.after.get(self._ports.desk.machine)
                return router.answers_of_users(call.split, {} if place is None else {HERE: place})
            case CallName.HEALTHY:
                return router.healthy(call.model)
            case CallName.BACKUPS:
                return router.backups()
            case CallName.DIFFERENCES:
                return tuple(router.differences())
            case CallName.REPAIR:
                self._holding.routes()
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
