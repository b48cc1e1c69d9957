"""Pool over the desired-state files of the BentoML model servers and their reports at `/v1/pool`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from perennial.adapters.loopback_http import LoopbackHttp
from perennial.core.release.traffic import Readiness
from perennial.core.serving_spec import Load
from perennial.core.version import VersionRef
from perennial.errors import ModelFileError, PerennialError, PoolUnavailable, ToolError
from perennial.files import new_folder
from perennial.serving import desired_state, headers
from perennial.serving.desired_state import DesiredState, DesiredVersion
from perennial.serving.loading.state_file import StateFile
from perennial.serving.manifest import SEAL_FILE, load_verified
from perennial.serving.signed_files import TrustedKeys, write_contents

if TYPE_CHECKING:
    from perennial.internal_tls.caller import Caller

WARM_UP = 10
"""Requests before a measurement: the first requests allocate memory that later requests reuse."""


class BentoPool:
    """Pool port.

    Args:
        serving_dir: folder with pools/<pool>.json and store/<digest>/, shared with the servers.
        host: address of the servers.
        servers: pool name -> port of each of its servers.
        trusted: keys of those who may sign a version.
        secret: shared secret that the servers require.
        caller: TLS to the servers; None: without.
    """

    def __init__(
        self,
        serving_dir: Path,
        host: str,
        servers: Mapping[str, Sequence[int]],
        trusted: TrustedKeys,
        secret: str = "",
        caller: Caller | None = None,
    ) -> None:
        self._caller = caller
        self._sent = {headers.SECRET: secret}
        self._states = {pool: StateFile(desired_state.state_file(serving_dir, pool)) for pool in servers}
        self._folder = serving_dir
        self._host = host
        self._servers = servers
        self._trusted = trusted
        self._clients = {
            port: LoopbackHttp((host, port), 3.0, self._sent, caller)
            for ports in servers.values()
            for port in ports
        }

    def ensure(self, pool: str, ref: VersionRef, files: Path) -> None:
        """Store the files, then add the version to the desired state, pinned, so that servers never miss a file.

        Raises:
            NotSigned: `files` are not those that a trusted key signed under this digest.
            PoolUnavailable: there is no such pool, or its state stays locked.
        """
        self._check_pool(pool)
        self._store(ref, files)
        self._change(pool, lambda state: state.with_version(DesiredVersion.of(ref)))

    def held(self, pool: str) -> Collection[tuple[str, str]]:
        """Return (model, digest) of the versions of the pool; see `flows.release.machines.agent_ports`."""
        self._check_pool(pool)
        return [version.identity for version in self._states[pool].read().models]

    def hold(
        self,
        pool: str,
        wanted: DesiredState,
        fetch: Callable[[DesiredVersion, Path], None],
        stay: Collection[tuple[str, str]] = (),
    ) -> None:
        """Make these the versions of the pool, after their files; see `flows.release.machines.agent_ports`.

        A version whose files cannot be had keeps none of the others from its servers. A damaged file of the pool is
        set aside.

        Raises:
            ToolError, ModelFileError: that of the first version whose files cannot be had.
        """
        self._check_pool(pool)
        try:
            there = self._states[pool].read().models
        except ModelFileError:
            path = desired_state.state_file(self._folder, pool)
            path.replace(path.with_suffix(".damaged"))
            there = ()
        here = {version.identity for version in there}
        missing: list[PerennialError] = []
        held = []
        for version in wanted.models:
            try:
                if version.identity not in here:
                    self._fetch(version, fetch)
                held.append(version)
            except PerennialError as error:
                named = f"{version.model} {version.digest[:12]}: {error.message}"
                missing.append(type(error)(named, hint=error.hint))
            except OSError as error:  # the disk is full, or the store stays locked
                named = f"{version.model} {version.digest[:12]}: {error}"
                missing.append(ToolError(named, hint=f"check the disk of {self._folder}"))
        named = {version.identity for version in wanted.models}
        held += [version for version in there if version.identity in stay and version.identity not in named]
        self._change(pool, lambda state: state.with_models(tuple(held)))
        if missing:
            raise missing[0]

    def _fetch(self, version: DesiredVersion, fetch: Callable[[DesiredVersion, Path], None]) -> None:
        if self._holds(desired_state.version_folder(self._folder, version.digest), version):
            return
        (self._folder / "fetched").mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=self._folder / "fetched") as folder:
            fetch(version, Path(folder))
            self._store(version, Path(folder))

    def drop(self, pool: str, model: str, digest: str) -> None:
        """Remove the version from the desired state; its files stay for other pools and for rollbacks."""
        self._check_pool(pool)
        self._change(pool, lambda state: state.without(model, digest))

    def load_as(self, model: str, load: Load) -> None:
        """Say in the desired state of every pool how its servers hold the versions of a model."""
        for pool, state in self._states.items():
            if state.read().with_load(model, load) is not state.read():
                self._change(pool, lambda state: state.with_load(model, load))

    def readiness(self, pool: str, model: str, digest: str) -> Readiness:
        """Ask each server; a server that has not read the newest desired state is not ready for new versions.

        A version on demand is ready where a request for it would be answered.
        """
        self._check_pool(pool)
        on_demand = self._states[pool].read().load_of(model, digest) is Load.ON_DEMAND
        ready, reachable, errors = 0, 0, []
        for port in self._servers[pool]:
            report = self._report(port)
            if report is None:
                continue
            reachable += 1
            versions = [
                version
                for version in report["models"]
                if (version["model"], version["digest"]) == (model, digest)
            ]
            # A server that cannot read its state or log its answers is not ready, even with loaded versions.
            ready += not report["error"] and any(_answers(version, on_demand) for version in versions)
            problems = [*(version["error"] for version in versions), report["error"]]
            errors += [f"{self._host}:{port}: {problem}" for problem in problems if problem]
        return Readiness(
            ready=ready, total=len(self._servers[pool]), reachable=reachable, errors=tuple(errors)
        )

    def problems(self) -> dict[int, list[str]]:
        """Return the problems that the server of each port reports, for people."""
        return {port: self._problems(port) for ports in self._servers.values() for port in ports}

    def _problems(self, port: int) -> list[str]:
        report = self._report(port)
        if report is None:
            return ["does not answer"]
        versions = [
            f"{version['model']} {version['version']}: {version['error'] or 'is not loaded yet'}"
            for version in report["models"]
            if not _answers(version, version["load"] == Load.ON_DEMAND)
        ]
        return [report["error"], *versions] if report["error"] else versions

    def measure(
        self, pool: str, model: str, digest: str, payload: Mapping[str, Any], requests: int
    ) -> list[float]:
        """Return the latencies (ms) of sequential unlogged requests with an Open Inference Protocol body.

        Raises:
            PoolUnavailable: no server of the pool answers with this version.
        """
        self._check_pool(pool)
        sent = {headers.DIGEST: digest, headers.SYNTHETIC: "true"}
        address = self._host, self._ready_port(pool, model, digest)
        client = LoopbackHttp(address, 10.0, self._sent, self._caller)

        def once() -> float:
            started = time.perf_counter()
            answer = client.post(f"/v2/models/{model}/infer", payload, sent)
            elapsed = time.perf_counter() - started
            if answer.status != 200:
                raise PoolUnavailable(
                    f"pool {pool}: {model} {digest[:12]} answers {answer.status}: {answer.text[:200]}",
                    hint="the payload must fit the model's input",
                )
            return elapsed * 1000

        try:
            for _ in range(WARM_UP):
                once()
            return [once() for _ in range(requests)]
        except OSError as error:
            raise PoolUnavailable(
                f"pool {pool}: the server does not answer any more: {error!r}", hint="measure again"
            ) from error
        finally:
            client.close()

    def _ready_port(self, pool: str, model: str, digest: str) -> int:
        for port in self._servers[pool]:
            report = self._report(port)
            if report is not None and any(
                version["loaded"] and (version["model"], version["digest"]) == (model, digest)
                for version in report["models"]
            ):
                return port
        raise PoolUnavailable(
            f"no server of pool {pool} has loaded {model} {digest[:12]}",
            hint="see /v1/pool of its servers for the reason",
        )

    def _report(self, port: int) -> dict[str, Any] | None:
        """Return the report of a server about its versions, or None when it does not answer."""
        try:
            answer = self._clients[port].get("/v1/pool")
            return answer.json() if answer.status == 200 else None
        except (OSError, ValueError):
            return None

    def _store(self, ref: VersionRef | DesiredVersion, files: Path) -> None:
        """Copy beside the target and rename, so that a store folder is complete or absent."""
        target = desired_state.version_folder(self._folder, ref.digest)
        if self._holds(target, ref):
            return
        version = load_verified(files, ref.model, ref.digest, self._trusted, (SEAL_FILE,))
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / ".lock", timeout=30):
            if self._holds(target, ref):
                return
            with new_folder(target) as temporary:
                write_contents(temporary, version.contents)
                load_verified(temporary, ref.model, ref.digest, self._trusted)
                shutil.rmtree(target, ignore_errors=True)  # wrong or truncated; loaded sessions are in memory

    def _holds(self, folder: Path, ref: VersionRef | DesiredVersion) -> bool:
        """Return whether the stored files are those of the version."""
        try:
            load_verified(folder, ref.model, ref.digest, self._trusted)
        except ModelFileError:
            return False
        return True

    def _check_pool(self, pool: str) -> None:
        if pool not in self._servers:
            raise PoolUnavailable(f"no pool is named {pool!r}", hint=f"known: {', '.join(self._servers)}")

    def _change(self, pool: str, change: Callable[[DesiredState], DesiredState]) -> None:
        path = desired_state.state_file(self._folder, pool)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(path.with_suffix(".lock"), timeout=10):
                state = desired_state.read(path)
                wanted = change(state)
                if wanted is not state:
                    desired_state.write(path, wanted)
        except Timeout as error:
            raise PoolUnavailable(
                f"another process holds {path.with_suffix('.lock')}", hint="try again"
            ) from error


def _answers(version: Mapping[str, Any], on_demand: bool) -> bool:
    """Return whether a server would answer with a version, by its report."""
    return bool(version["loaded"] or (on_demand and version["held"] and not version["error"]))
