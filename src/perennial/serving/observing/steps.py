"""Steps of a request that get a span of their own. Only a server that traces has any of this on its way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from perennial.serving.entities import FeatureColumns, OnlineValues
from perennial.serving.recorder import Recorder


@dataclass(frozen=True, slots=True)
class Step:
    """A part of the work for a request.

    Attributes:
        started: nanoseconds since 1970.
        failed: true where it raised.
    """

    name: str
    started: int
    seconds: float
    failed: bool


_STEPS: ContextVar[list[Step] | None] = ContextVar("steps", default=None)


def collected_steps() -> Sequence[Step]:
    """Return the list, empty yet, that the steps of the request of this task go to."""
    steps: list[Step] = []
    _STEPS.set(steps)
    return steps


@contextmanager
def step(name: str) -> Iterator[None]:
    """Note the block as a step of the request of this task."""
    started, clock, failed = time.time_ns(), time.perf_counter(), True
    try:
        yield
        failed = False
    finally:
        if (steps := _STEPS.get()) is not None:
            steps.append(Step(name, started, time.perf_counter() - clock, failed))


class TracedRecorder(Recorder):
    """Recorder whose work is a step."""

    def record(self, *given: Any, **named: Any) -> list[str]:
        with step("log"):
            return super().record(*given, **named)


class TracedFeatures:
    """A source of feature values each of whose reads is a step."""

    def __init__(self, source: Callable[[], OnlineValues]) -> None:
        self._source = source

    def __call__(self) -> OnlineValues:
        return _TracedValues(self._source())


class _TracedValues:
    def __init__(self, values: OnlineValues) -> None:
        self._values = values

    def columns(self, service: str, given: Mapping[str, Sequence[Any]]) -> FeatureColumns:
        with step("read features"):
            return self._values.columns(service, given)

    async def fetch(self, service: str, given: Mapping[str, Sequence[Any]]) -> FeatureColumns:
        with step("read features"):
            return await self._values.fetch(service, given)
