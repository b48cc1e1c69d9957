"""Pool and Probe over serving machines: versions are wanted in the database, their files lie in object storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from perennial.adapters.sql.machines.calls import ask_all, first_of
from perennial.adapters.sql.machines.machines import SqlMachines
from perennial.adapters.sql.machines.wanted import SqlWanted
from perennial.core.machine import Applied, Call, CallName, Machine, WantedKind
from perennial.core.release.traffic import PoolName, Readiness
from perennial.core.serving_spec import Load
from perennial.core.version import VersionRef
from perennial.errors import NotSigned, PoolUnavailable
from perennial.serving.desired_state import DesiredState, DesiredVersion
from perennial.serving.manifest import SEAL_FILE, load_verified
from perennial.serving.signed_files import TrustedKeys


class VersionFiles(Protocol):
    """Files of versions where the machines fetch them (`adapters.exchange`)."""

    def put(self, digest: str, contents: Mapping[str, bytes]) -> None: ...


class SqlPool:
    """Pool port over the pools in the database, which every machine applies by its own pool.

    Args:
        files: where the machines fetch the files of a version.
        trusted: keys of those who may sign a version.
    """

    def __init__(
        self, wanted: SqlWanted, machines: SqlMachines, files: VersionFiles, trusted: TrustedKeys
    ) -> None:
        self._wanted = wanted
        self._machines = machines
        self._files = files
        self._trusted = trusted
        self._states: dict[str, DesiredState] = {}
        self._seen = 0

    def ensure(self, pool: str, ref: VersionRef, files: Path) -> None:
        """Upload the files, then add the version to the pool, so that no machine misses a file.

        Raises:
            NotSigned: `files` are not those that a trusted key signed under this digest.
            PoolUnavailable: there is no such pool. ToolError: the object storage does not answer.
        """
        _check(pool)
        verified = load_verified(files, ref.model, ref.digest, self._trusted, (SEAL_FILE,))
        self._files.put(ref.digest, verified.contents)
        self._change(pool, lambda state: state.with_version(DesiredVersion.of(ref)))

    def drop(self, pool: str, model: str, digest: str) -> None:
        """Remove the version from the pool; its files stay for other pools and for rollbacks."""
        _check(pool)
        self._change(pool, lambda state: state.without(model, digest))

    def load_as(self, model: str, load: Load) -> None:
        """Say of every pool how its servers hold the versions of a model."""
        for pool in PoolName:
            state = self._read(pool)
            if state.with_load(model, load) is not state:
                self._change(pool, lambda state: state.with_load(model, load))

    def _read(self, pool: str) -> DesiredState:
        """Return the state of a pool; the watch asks for each model, and nothing has changed meanwhile."""
        newest = self._wanted.newest()
        if newest != self._seen:
            self._states, self._seen = {}, newest
        if pool not in self._states:
            self._states[pool] = _state(self._wanted.find(WantedKind.POOL, pool).body)
        return self._states[pool]

    def readiness(self, pool: str, model: str, digest: str) -> Readiness:
        """Add up what the machines say of their servers.

        Where a live machine has servers and none is ready, none counts as ready: a route would send its requests
        there, too. A machine without servers, or that does not answer, fails its requests whatever the route is: it is
        not complete, but it keeps no rollback from the others.
        """
        _check(pool)
        call = Call(name=CallName.READINESS, pool=pool, model=model, digest=digest)
        answers, errors = ask_all(self._machines, call, PoolUnavailable)
        machines = self._machines.live()  # whose lease ended meanwhile counts no more
        parts = [answers.get(machine.name) for machine in machines]
        servers = [machine.report.servers.get(pool, 0) for machine in machines]
        total = sum(count if part is None else part.total for part, count in zip(parts, servers, strict=True))
        ready = [part.ready for part in parts if part is not None and part.reachable]
        lines = [f"{name}: {text}" for name, part in answers.items() for text in part.errors]
        lines += _refused(machines, pool, f"{model} {digest[:12]}: ")
        return Readiness(
            ready=sum(ready) if all(ready) else 0,
            total=total,
            reachable=sum(part.reachable for part in answers.values()),
            errors=(*lines, *(error.message for error in errors.values())),
        )

    def problems(self) -> dict[str, list[str]]:
        """Return the problems that the servers report, by machine and port, for people."""
        answers, errors = ask_all(self._machines, Call(name=CallName.PROBLEMS), PoolUnavailable)
        servers = {
            f"{name}:{port}": lines for name, ports in answers.items() for port, lines in ports.items()
        }
        return {**servers, **{name: [error.message] for name, error in errors.items()}}

    def measure(
        self, pool: str, model: str, digest: str, payload: Mapping[str, Any], requests: int
    ) -> list[float]:
        """Measure on a machine that has loaded the version; see `ports.Pool.measure`."""
        _check(pool)
        call = Call(
            name=CallName.MEASURE,
            pool=pool,
            model=model,
            digest=digest,
            body=dict(payload),
            requests=requests,
        )
        names = [machine.name for machine in self._machines.live()]
        latencies: list[float] = first_of(self._machines, call, names, PoolUnavailable)
        return latencies

    def _change(self, pool: str, change: Callable[[DesiredState], DesiredState]) -> None:
        def changed(body: str) -> str:
            state = _state(body)
            wanted = change(state)
            return body if wanted is state else wanted.model_dump_json()

        self._wanted.change(WantedKind.POOL, pool, changed)


class SqlProbe:
    """Probe port: every live machine must answer whose pool has a server."""

    def __init__(self, machines: SqlMachines) -> None:
        self._machines = machines

    def predict(self, pool: str, model: str, digest: str, body: Mapping[str, Any]) -> str:
        """Send the request to a server of each machine; see `ports.Probe.predict`."""
        return self._ask(CallName.PREDICT, pool, model, digest, body)

    def infer(self, pool: str, model: str, digest: str, body: Mapping[str, Any]) -> str:
        """As `predict`, by tensor."""
        return self._ask(CallName.INFER, pool, model, digest, body)

    def _ask(self, name: CallName, pool: str, model: str, digest: str, body: Mapping[str, Any]) -> str:
        call = Call(name=name, pool=pool, model=model, digest=digest, body=dict(body))
        asked = call.model_copy(update={"name": CallName.READINESS, "body": {}})
        parts, _ = ask_all(self._machines, asked, PoolUnavailable)
        names = [machine for machine, part in parts.items() if part.reachable]
        answers, errors = ask_all(self._machines, call, PoolUnavailable, names or None)
        problems = [*answers.values(), *(error.message for error in errors.values())]
        return next((problem for problem in problems if problem), "")


def _check(pool: str) -> None:
    if pool not in set(PoolName):
        raise PoolUnavailable(f"no pool is named {pool!r}", hint=f"known: {', '.join(PoolName)}")


def _refused(machines: Sequence[Machine], pool: str, version: str) -> Iterator[str]:
    """Yield why machines refuse the files of a version; where they only cannot get them, they try again."""
    for machine in machines:
        refusal = machine.report.applied.get(WantedKind.POOL, Applied()).failed.get(pool)
        if refusal and refusal.error == NotSigned.__name__ and refusal.message.startswith(version):
            yield f"{machine.name}: {refusal.message}"


def _state(body: str) -> DesiredState:
    return DesiredState.model_validate_json(body) if body else DesiredState()
