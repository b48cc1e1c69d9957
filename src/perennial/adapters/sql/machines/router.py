"""Router over serving machines: a route is live when each live machine has said so."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from perennial.adapters.sql.machines.calls import HINT, some_of
from perennial.adapters.sql.machines.machines import SqlMachines
from perennial.adapters.sql.machines.wanted import SqlWanted
from perennial.core.machine import Call, CallName, Refusal, Wanted, WantedKind, joined, joined_users
from perennial.core.release.counted.user_buckets import LogPosition, UserBuckets
from perennial.core.release.traffic import (
    BACKUP,
    AnyRoute,
    Counters,
    Expected,
    PoolName,
    Route,
    refuse_if_moved,
)
from perennial.errors import RouterRejected, RouterUnavailable

CONFIRM_SECONDS = 20.0
"""A machine tries for half of it, as long as its own router waits for Envoy."""


class SqlRouter:
    """Router port over the routes in the database, which every machine applies by its own router.

    A machine that is silent for longer than its lease is not waited for; it applies the routes when it returns.
    A live machine whose Envoy does not answer keeps no other from a change; its agent tries it again and again.
    """

    def __init__(
        self, wanted: SqlWanted, machines: SqlMachines, confirm_seconds: float = CONFIRM_SECONDS
    ) -> None:
        self._wanted = wanted
        self._machines = machines
        self._confirm_seconds = confirm_seconds

    def apply(self, route: Route, expected: Expected = AnyRoute.ANY) -> None:
        """Store a route and wait for the machines; see `ports.Router.apply`.

        A route that a machine refuses, or that none can apply, is replaced by the one before.
        """

        def checked(body: str) -> str:
            live = Route.model_validate_json(body) if body else None
            refuse_if_moved(live, route, expected)
            return body if live == route else route.model_dump_json()

        if not self._machines.live():
            raise RouterUnavailable("no serving machine reports; nothing has changed", hint=HINT)
        before, after = self._wanted.change(WantedKind.ROUTE, route.model, checked)
        try:
            self._confirm(after)
        except (RouterRejected, RouterUnavailable):
            self._take_back(before, after)
            raise

    def _confirm(self, wanted: Wanted) -> None:
        end = time.monotonic() + self._confirm_seconds
        while True:
            states = {machine.name: machine.applied(wanted) for machine in self._machines.live()}
            refusals = {name: state for name, state in states.items() if isinstance(state, Refusal)}
            rejected = [
                refusal.raised(name)
                for name, refusal in refusals.items()
                if refusal.error == RouterRejected.__name__
            ]
            if rejected:
                raise rejected[0]
            is_late = time.monotonic() > end
            if is_late or False not in states.values():
                if True in states.values():
                    return
                for name, refusal in refusals.items():
                    raise RouterUnavailable(f"{name}: {refusal.message}", hint=refusal.hint)
                names = ", ".join(states) or "no serving machine"
                raise RouterUnavailable(f"{names} did not confirm the route", hint=HINT)
            time.sleep(0.02)

    def _take_back(self, before: Wanted, after: Wanted) -> None:
        """Store the route before again, where no other change came meanwhile."""
        self._wanted.change(
            WantedKind.ROUTE, after.name, lambda body: before.body if body == after.body else body
        )

    def route(self, model: str) -> Route | None:
        body = self._wanted.find(WantedKind.ROUTE, model).body
        return Route.model_validate_json(body) if body else None

    def counters(self, model: str) -> Mapping[str, Counters]:
        """Return the sums over all machines, with the part of each. They grow over the restarts of each Envoy; of a
        machine that does not answer, what it has stored last counts."""
        answers = some_of(self._machines, Call(name=CallName.COUNTERS, model=model), RouterUnavailable)
        pools = (*(pool.value for pool in PoolName), BACKUP)
        return joined({**self._machines.counted(model), **answers}, pools, answers)

    def answers_of_users(self, split: str | None, after: Mapping[str, LogPosition]) -> UserBuckets:
        call = Call(name=CallName.USERS, split=split, after=dict(after))
        return joined_users(some_of(self._machines, call, RouterUnavailable), after)

    def keep_log_small(self) -> None:
        """Do nothing: the agent of each machine does."""

    def healthy(self, model: str) -> Mapping[str, int]:
        answers = some_of(self._machines, Call(name=CallName.HEALTHY, model=model), RouterUnavailable)
        return {
            pool.value: sum(healthy.get(pool.value, 0) for healthy in answers.values()) for pool in PoolName
        }

    def backups(self) -> Mapping[str, int]:
        answers = some_of(self._machines, Call(name=CallName.BACKUPS), RouterUnavailable)
        models = dict.fromkeys(model for accepted in answers.values() for model in accepted)
        return {model: sum(accepted.get(model, 0) for accepted in answers.values()) for model in models}

    def differences(self) -> tuple[str, ...]:
        answers = some_of(self._machines, Call(name=CallName.DIFFERENCES), RouterUnavailable)
        return tuple(f"{name}: {text}" for name, texts in answers.items() for text in texts)

    def repair(self) -> None:
        some_of(self._machines, Call(name=CallName.REPAIR), RouterUnavailable)

    def overview(self) -> list[dict[str, Any]]:
        """Return a row per machine, model and pool with a target."""
        answers = some_of(self._machines, Call(name=CallName.OVERVIEW), RouterUnavailable)
        return [{"machine": name, **row} for name, rows in answers.items() for row in rows]
