"""The versions of a model server, and their convergence to the desired state of its pool."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from perennial.core.release.traffic import PoolName
from perennial.core.serving_spec import Load
from perennial.errors import MalformedInput, NotLoaded, PerennialError, UnknownModel, UnknownVersion
from perennial.serving import desired_state, headers, session
from perennial.serving.desired_state import DesiredVersion
from perennial.serving.loading.on_demand import Key, OnDemandVersions
from perennial.serving.loading.state_file import StateFile
from perennial.serving.loading.versions import LoadedVersions
from perennial.serving.manifest import load_manifest
from perennial.serving.onnx import ON_CPU, Execution
from perennial.serving.session import LoadedVersion, RegisteredVersion
from perennial.serving.signed_files import TrustedKeys

DISK_EVERY = 10
"""Passes over the desired state per check of the disk."""
MOST_NAMES = 20
"""Models that an error names."""


class ModelHost:
    """Converges to the desired-state file; a version that cannot be loaded does not stop the others.

    Args:
        serving_dir: folder with pools/<pool>.json and store/<digest>/.
        prepare: called with each version before it counts as loaded, to warm up its dependencies.
        trusted: keys whose signature makes a version one that may be loaded.
        problem: says what is wrong with the bytes of a model file, or an empty text (`serving.session.load`).
        disk: returns why answers cannot be logged, or an empty text.
        execution: provider that runs the models.
        budget: bytes for versions that are loaded on demand.
        problem_on_demand: as `problem`, for these; the other may be busy with a pinned version meanwhile.
    """

    def __init__(
        self,
        serving_dir: Path,
        pool: str,
        prepare: Callable[[LoadedVersion], None],
        trusted: TrustedKeys,
        problem: Callable[[bytes], str],
        disk: Callable[[], str] = lambda: "",
        execution: Execution = ON_CPU,
        budget: int = 1 << 30,
        problem_on_demand: Callable[[bytes], str] | None = None,
    ) -> None:
        self.pool = pool
        self.versions = LoadedVersions(state_error="the desired state is not read yet")
        self.on_demand = OnDemandVersions(budget, lambda version: self._open(version.wanted, cold_problem))
        cold_problem = problem_on_demand or problem
        self._file = StateFile(desired_state.state_file(serving_dir, pool))
        self._serving_dir = serving_dir
        self._prepare = prepare
        self._trusted = trusted
        self._problem = problem
        self._execution = execution
        self._stop = threading.Event()
        self._started = threading.Event()
        self._thread: threading.Thread | None = None
        self._failed: dict[Key, int] = {}
        self._disk = disk
        self._disk_error = ""
        self._looks = 0

    @property
    def error(self) -> str:
        """Return why the whole server is not ready, independent of its versions, or an empty text."""
        return self.versions.state_error or self._disk_error

    @property
    def ready(self) -> bool:
        return not self.error and self.versions.ready

    def start(self, every_seconds: float = 0.2) -> None:
        """Converge in a thread until `stop`; meanwhile the server answers health checks."""
        self._thread = threading.Thread(target=self._run, args=(every_seconds,), name="converge", daemon=True)
        self._thread.start()

    @property
    def started(self) -> bool:
        """Return true after the first pass: before that, a restarted server must get no traffic."""
        return self._started.is_set()

    def stop(self) -> None:
        self._stop.set()
        self.on_demand.stop()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self, every_seconds: float) -> None:
        self.converge()
        while not self._stop.wait(every_seconds):
            self.converge()

    def converge(self) -> None:
        """Load missing versions and drop undesired versions; problems become errors of `versions`."""
        if self._looks % DISK_EVERY == 0:
            self._disk_error = self._disk()
        self._looks += 1
        self._follow()
        self._started.set()

    def _follow(self) -> None:
        try:
            state = self._file.read()
        except PerennialError as error:
            self.versions = replace(self.versions, state_error=f"{error.message} ({error.hint})")
            return
        now = self.versions
        if state is now.state and not now.state_error and now.settled:
            self._retry_failed()
            return
        self._failed.clear()
        self.versions = new = now.kept(state, self.on_demand)
        self.on_demand.follow(new.registered, now.loaded)
        for wanted in state.models:
            if wanted.load is Load.ON_DEMAND and wanted.identity not in new.registered:
                self._register(wanted)
        for wanted in state.models:
            if wanted.load is Load.PINNED and wanted.identity not in new.loaded:
                self._load(wanted)
        gc.collect()
        gc.freeze()  # loaded models and libraries stay: exclude them from later collections

    def _retry_failed(self, every: int = 10) -> None:
        """Try failed versions again every tenth pass: a file may be repaired under the same digest."""
        if not self.versions.errors:
            return
        for wanted in self.versions.state.models:
            key = wanted.identity
            if key in self.versions.errors:
                self._failed[key] = self._failed.get(key, 0) + 1
                if self._failed[key] % every == 0:
                    (self._load if wanted.load is Load.PINNED else self._register)(wanted)

    def _load(self, wanted: DesiredVersion) -> None:
        versions, key = self.versions, wanted.identity
        try:
            version = self._open(wanted, self._problem)
        except PerennialError as error:
            versions.errors[key] = f"{error.message} ({error.hint})"
            return
        versions.loaded[key] = version
        versions.errors.pop(key, None)

    def _open(self, wanted: DesiredVersion, problem: Callable[[bytes], str]) -> LoadedVersion:
        folder = self._folder(wanted)
        version = session.load(wanted, folder, self._trusted, problem, self._execution)
        self._prepare(version)
        return version

    def _register(self, wanted: DesiredVersion) -> None:
        """Make a version one that is loaded on demand."""
        versions, key = self.versions, wanted.identity
        try:
            manifest = load_manifest(self._folder(wanted), wanted.model, wanted.digest, self._trusted)
        except PerennialError as error:
            versions.errors[key] = f"{error.message} ({error.hint})"
            return
        versions.registered[key] = RegisteredVersion(wanted, manifest)
        versions.errors.pop(key, None)

    def _folder(self, wanted: DesiredVersion) -> Path:
        return desired_state.version_folder(self._serving_dir, wanted.digest)

    def is_loaded(self, key: Key) -> bool:
        """Return whether a version is loaded, pinned or on demand."""
        return key in self.versions.loaded or self.on_demand.is_loaded(key)

    def error_of(self, key: Key) -> str:
        """Return why a version is not loaded; empty where nothing is wrong."""
        return self.versions.errors.get(key, "") or self.on_demand.failure(key)

    def loaded_of(self, model: str) -> Iterator[LoadedVersion]:
        """Yield the loaded versions of a model."""
        for wanted in self.versions.state.by_model.get(model, ()):
            version = self._version(wanted.identity)
            if isinstance(version, LoadedVersion):
                yield version

    def known(self, models: Iterable[str]) -> Iterator[RegisteredVersion]:
        """Yield the versions of these models that a request may get an answer of; that is no use of them."""
        versions = self.versions
        for model in models:
            for wanted in versions.state.by_model.get(model, ()):
                key = wanted.identity
                version = versions.loaded.get(key) or versions.registered.get(key)
                if version is not None:
                    yield version

    def _version(self, key: Key) -> RegisteredVersion | None:
        """Return a version, loaded if it can be; that counts as a use of it."""
        versions = self.versions
        return versions.loaded.get(key) or self.on_demand.find(key) or versions.registered.get(key)

    def by_digest(
        self, model: str, digest: str, fallback: str | None, backup: str | None = None
    ) -> RegisteredVersion:
        """Return the version with the digest, or the version that may stand in for it in this pool.

        Args:
            fallback: digest of the champion, in place of a candidate. Only the stable pool uses it: answers of a
                canary server count for the candidate, and a server that cannot load it must show that.
            backup: digest of the previous champion, in place of the champion. The stable pool never uses it:
                another server may have the champion, and the answer would count for the champion.

        Raises:
            NotLoaded: neither version is loaded here.
        """
        cold = None
        for candidate in (digest, fallback if self.pool == PoolName.STABLE else backup):
            version = self._version((model, candidate)) if candidate else None
            if version is None:
                continue
            if type(version) is not RegisteredVersion or not self.on_demand.failure(version.wanted.identity):
                return version
            cold = cold or version
        if cold is not None:
            return cold  # its load says why it failed
        raise NotLoaded(f"{model}: version not loaded: {digest[:12]}", hint="the router tries another server")

    def by_version(self, model: str, version: str) -> RegisteredVersion:
        """Return the version with this semantic version.

        Raises:
            UnknownModel, UnknownVersion: it is not held here.
        """
        of_model = self._of_model(model)
        for held in of_model:
            if held.wanted.version == version:
                return self.on_demand.find(held.wanted.identity) or held
        raise UnknownVersion(
            f"{model} {version} is not served here",
            hint=f"served: {', '.join(held.wanted.version for held in of_model)}",
        )

    def only(self, model: str) -> RegisteredVersion:
        """Return the only version of the model, for direct calls that name no version.

        Raises:
            UnknownModel, NotLoaded: no version of it is held.
            MalformedInput: several versions are held, and the caller must name a version.
        """
        versions = self.versions
        wanted = versions.state.by_model.get(model, ())
        if len(wanted) == 1 and (pinned := versions.loaded.get(wanted[0].identity)) is not None:
            return pinned
        of_model = self._of_model(model)
        if len(of_model) > 1:
            raise MalformedInput(
                f"{model}: {len(of_model)} versions are loaded and none was named",
                hint=f"call through the router, or send {headers.DIGEST}",
            )
        return self.on_demand.find(of_model[0].wanted.identity) or of_model[0]

    def _of_model(self, model: str) -> list[RegisteredVersion]:
        of_model = list(self.known((model,)))
        if of_model:
            return of_model
        by_model = self.versions.state.by_model
        if model in by_model:
            raise NotLoaded(f"{model}: no version is loaded yet", hint="see /v1/pool for the reason")
        names = ", ".join(islice(sorted(by_model), MOST_NAMES)) or "none"
        more = f" and {len(by_model) - MOST_NAMES} more" if len(by_model) > MOST_NAMES else ""
        raise UnknownModel(f"no model is named {model!r} here", hint=f"known: {names}{more}")
