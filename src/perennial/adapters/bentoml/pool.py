"""Pool over the desired-state files of the BentoML model servers, and their own word on what they hold."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from perennial.adapters.loopback_http import LoopbackHttp
from perennial.core.release.traffic import Readiness
from perennial.core.version import VersionRef
from perennial.errors import ModelFileError, PoolUnavailable
from perennial.files import new_folder
from perennial.serving import desired_state as desired
from perennial.serving import headers
from perennial.serving.manifest import load_verified

WARM_UP = 10
"""Requests before a measurement: the first ones pay for memory that the later ones reuse."""


class BentoPool:
    """Pool port.

    Args:
        serving_dir: holds pools/<pool>.json and store/<digest>/, shared with the servers.
        host: address that the servers listen on.
        servers: pool name -> port of each of its servers.
    """

    def __init__(self, serving_dir: Path, host: str, servers: Mapping[str, Sequence[int]]) -> None:
        self._folder = serving_dir
        self._host = host
        self._servers = servers
        self._clients = {port: LoopbackHttp(host, port, 3.0) for found in servers.values() for port in found}

    def ensure(self, pool: str, ref: VersionRef, files: Path) -> None:
        """Files first, then the wish: a server never meets a version whose files are not there.

        Raises:
            ModelFileError: `files` are not those that the digest names.
            PoolUnavailable: no such pool, or its state is locked for long.
        """
        self._check_pool(pool)
        self._store(ref, files)
        path = desired.state_file(self._folder, pool)
        with self._locked(pool):
            state = desired.read(path)
            wanted = state.with_version(desired.DesiredVersion.of(ref))
            if wanted is not state:
                desired.write(path, wanted)

    def drop(self, pool: str, model: str, digest: str) -> None:
        """The files stay: another pool may hold the version, and a rollback loads it again."""
        self._check_pool(pool)
        path = desired.state_file(self._folder, pool)
        with self._locked(pool):
            state = desired.read(path)
            wanted = state.without(model, digest)
            if wanted is not state:
                desired.write(path, wanted)

    def readiness(self, pool: str, model: str, digest: str) -> Readiness:
        """Asks each server; one that has not seen the newest desired state is not ready for anything new."""
        self._check_pool(pool)
        ready, reachable, errors = 0, 0, []
        for port in self._servers[pool]:
            body = self._holding(port)
            if body is None:
                continue
            reachable += 1
            found = [one for one in body["models"] if (one["model"], one["digest"]) == (model, digest)]
            # A server that cannot read its state or log its answers is not ready, whatever it has loaded.
            ready += not body["error"] and any(one["loaded"] for one in found)
            errors += [f"{self._host}:{port}: {one['error']}" for one in found if one["error"]]
            if body["error"]:
                errors.append(f"{self._host}:{port}: {body['error']}")
        return Readiness(
            ready=ready, total=len(self._servers[pool]), reachable=reachable, errors=tuple(errors)
        )

    def problems(self) -> dict[int, list[str]]:
        """Port -> what its server says is wrong; for people. Empty lists are good news."""
        return {port: self._problems(port) for found in self._servers.values() for port in found}

    def _problems(self, port: int) -> list[str]:
        body = self._holding(port)
        if body is None:
            return ["does not answer"]
        versions = [
            f"{one['model']} {one['version']}: {one['error'] or 'is not loaded yet'}"
            for one in body["models"]
            if not one["loaded"]
        ]
        return [body["error"], *versions] if body["error"] else versions

    def measure(
        self, pool: str, model: str, digest: str, payload: Mapping[str, Any], requests: int
    ) -> list[float]:
        """`payload` is an Open Inference Protocol body; one request after the other, unlogged.

        Raises:
            PoolUnavailable: no server of the pool answers with this version.
        """
        self._check_pool(pool)
        sent = {headers.DIGEST: digest, headers.SYNTHETIC: "true"}
        client = LoopbackHttp(self._host, self._ready_port(pool, model, digest), 10.0)

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
                f"pool {pool}: the server went away: {error!r}", hint="measure again"
            ) from error
        finally:
            client.close()

    def _ready_port(self, pool: str, model: str, digest: str) -> int:
        for port in self._servers[pool]:
            body = self._holding(port)
            if body is not None and any(
                one["loaded"] and (one["model"], one["digest"]) == (model, digest) for one in body["models"]
            ):
                return port
        raise PoolUnavailable(
            f"no server of pool {pool} has loaded {model} {digest[:12]}",
            hint="see /v1/pool of its servers for the reason",
        )

    def _holding(self, port: int) -> dict[str, Any] | None:
        """What a server says it holds; None when it does not answer, which Readiness counts."""
        try:
            answer = self._clients[port].get("/v1/pool")
            return answer.json() if answer.status == 200 else None
        except (OSError, ValueError):
            return None

    def _store(self, ref: VersionRef, files: Path) -> None:
        """Copy beside the target and rename, so that a store folder is whole or not there."""
        target = desired.version_folder(self._folder, ref.digest)
        if _holds(target, ref):
            return
        manifest = load_verified(files, ref.model, ref.digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / ".lock", timeout=30):
            if _holds(target, ref):
                return
            with new_folder(target) as temporary:
                for name in manifest.files:
                    shutil.copyfile(files / name, temporary / name)
                load_verified(temporary, ref.model, ref.digest)
                shutil.rmtree(target, ignore_errors=True)  # wrong or cut short; sessions are in memory

    def _check_pool(self, pool: str) -> None:
        if pool not in self._servers:
            raise PoolUnavailable(f"no pool is named {pool!r}", hint=f"known: {', '.join(self._servers)}")

    @contextmanager
    def _locked(self, pool: str):
        path = desired.state_file(self._folder, pool)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(path.with_suffix(".lock"), timeout=10):
                yield
        except Timeout as error:
            raise PoolUnavailable(
                f"another process holds {path.with_suffix('.lock')}", hint="try again"
            ) from error


def _holds(folder: Path, ref: VersionRef) -> bool:
    """Whether the stored files are the ones that the digest names."""
    try:
        load_verified(folder, ref.model, ref.digest)
    except ModelFileError:
        return False
    return True
