"""Versions that are loaded when a request names them, within a budget of memory."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import MappingProxyType

from perennial.errors import NotLoaded, PerennialError
from perennial.serving.loading.tally import LoadTally
from perennial.serving.session import LoadedVersion, RegisteredVersion

LOG = logging.getLogger(__name__)
Key = tuple[str, str]
"""(model, digest)"""

FAILED_SECONDS = 10.0
"""Time for which a failed load is answered from memory: a broken file must not keep the loader busy."""
MIB = 1 << 20
PER_SECOND, AT_ONCE = 10.0, 10
"""Loads a second that are begun in the long run, and those that may come at once before. A load of a small model takes
a millisecond, half of it with the interpreter's lock: a storm without a limit would be most of what a server does, and
every request for a pinned model would wait for it. A lower priority of the thread would make that worse, since it
would be kept from the processor while it has the lock."""
NOTHING: Mapping[Key, LoadedVersion] = MappingProxyType({})


@dataclass(frozen=True)
class Failure:
    """A load that failed.

    Attributes:
        until: time of the clock from which another try is made.
    """

    until: float
    reason: str


class OnDemandVersions:
    """The loaded ones of the versions that are held on demand; the least recently used leaves for another.

    One thread loads, one version after the other. The lock is held for moments only, never during a load. A request
    that uses a version which leaves goes on with it: the session lives as long as somebody uses it.

    Args:
        budget: bytes that the loaded versions may occupy together, by `LoadedVersion.memory`.
        load: returns the loaded version; raises PerennialError.
        clock: returns seconds.
    """

    def __init__(
        self,
        budget: int,
        load: Callable[[RegisteredVersion], LoadedVersion],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.budget = budget
        self.tally = LoadTally()
        self._load = load
        self._clock = clock
        self._lock = threading.Lock()
        self._registered: Mapping[Key, RegisteredVersion] = {}
        self._held: OrderedDict[Key, LoadedVersion] = OrderedDict()
        self._loading: dict[Key, Future[LoadedVersion]] = {}
        self._failed: dict[Key, Failure] = {}
        self._due = 0.0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="load-on-demand")

    def follow(
        self, registered: Mapping[Key, RegisteredVersion], pinned: Mapping[Key, LoadedVersion] = NOTHING
    ) -> None:
        """Let go of every version but these, and take those of them that were pinned until now.

        Args:
            registered: may get further versions later.
        """
        with self._lock:
            self._registered = registered
            for key in list(self._held):
                if key in registered:
                    self._held[key] = replace(self._held[key], wanted=registered[key].wanted)
                else:
                    del self._held[key]
            for key in registered.keys() & pinned.keys():
                self._keep(pinned[key])
            self._failed = {key: failure for key, failure in self._failed.items() if key in registered}

    def find(self, key: Key) -> LoadedVersion | None:
        """Return a loaded version, which is now the most recently used."""
        with self._lock:
            version = self._held.get(key)
            if version is not None:
                self._held.move_to_end(key)
            return version

    def is_loaded(self, key: Key) -> bool:
        """Return whether a version is loaded; that is no use of it."""
        return key in self._held

    @property
    def memory(self) -> int:
        """Return the bytes that the loaded versions occupy."""
        with self._lock:
            return self._memory()

    @property
    def count(self) -> int:
        """Return the number of loaded versions."""
        return len(self._held)

    def failure(self, key: Key) -> str:
        """Return why the last load of a version failed a moment ago, or an empty text."""
        failure = self._failed.get(key)
        return failure.reason if failure is not None and self._clock() < failure.until else ""

    def request(self, version: RegisteredVersion) -> Future[LoadedVersion]:
        """Return the load of a version: the one under way, or a new one.

        The future raises NotLoaded with the reason; at once where a load failed a moment ago.
        """
        key = version.wanted.identity
        with self._lock:
            if (held := self._held.get(key)) is not None:
                return _done(held)
            if (under_way := self._loading.get(key)) is not None:
                return under_way
            if reason := self.failure(key):
                return _refused(version, reason)
            future = self._loading[key] = self._thread.submit(self._run, version)
            return future

    def stop(self) -> None:
        """End the thread; loads that have not begun are dropped."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _run(self, version: RegisteredVersion) -> LoadedVersion:
        self._pace()
        key, began = version.wanted.identity, time.perf_counter()
        loaded: LoadedVersion | None = None
        try:
            loaded = self._load(version)
            reason = self._too_large(loaded)
        except PerennialError as error:
            reason = f"{error.message} ({error.hint})"
        except Exception as error:
            LOG.exception("load of %s %s", *key)
            reason = f"the load failed: {type(error).__name__}"
        with self._lock:
            del self._loading[key]
            if loaded is not None and not reason:
                self._keep(loaded)
                self.tally.loaded(time.perf_counter() - began)
                return loaded
            self.tally.failed += 1
            self._failed[key] = Failure(self._clock() + FAILED_SECONDS, reason)
        raise _not_loaded(version, reason)

    def _pace(self) -> None:
        """Wait until this load is due (generic cell rate algorithm)."""
        now = time.monotonic()
        self._due = max(self._due, now - AT_ONCE / PER_SECOND) + 1 / PER_SECOND
        time.sleep(max(0.0, self._due - now))

    def _too_large(self, loaded: LoadedVersion) -> str:
        if loaded.memory <= self.budget:
            return ""
        return (
            f"it needs {loaded.memory / MIB:.1f} MiB, PERENNIAL_ON_DEMAND_MIB is {self.budget / MIB:g}: "
            "raise that, or pin the model"
        )

    def _keep(self, version: LoadedVersion) -> None:
        """Hold a version, if it is still to be held on demand, and let the least recently used ones leave for it."""
        key = version.wanted.identity
        registered = self._registered.get(key)
        if registered is None or version.memory > self.budget:
            return
        self._failed.pop(key, None)
        self._held.pop(key, None)
        free = self.budget - self._memory()
        while free < version.memory:
            _, left = self._held.popitem(last=False)
            free += left.memory
            self.tally.evicted += 1
        self._held[key] = replace(version, wanted=registered.wanted)

    def _memory(self) -> int:
        return sum(version.memory for version in self._held.values())


def _done(version: LoadedVersion) -> Future[LoadedVersion]:
    future: Future[LoadedVersion] = Future()
    future.set_result(version)
    return future


def _refused(version: RegisteredVersion, reason: str) -> Future[LoadedVersion]:
    future: Future[LoadedVersion] = Future()
    future.set_exception(_not_loaded(version, reason))
    return future


def _not_loaded(version: RegisteredVersion, reason: str) -> NotLoaded:
    wanted = version.wanted
    return NotLoaded(
        f"{wanted.model} {wanted.version} is loaded on demand, and was not: {reason}",
        hint=f"it is tried again after {FAILED_SECONDS:g} s",
    )
