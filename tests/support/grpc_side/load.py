"""Calls without a break, each counted, as `load_generator.Load` does with requests."""

from __future__ import annotations

import time
from dataclasses import dataclass

import grpc
from load_generator import Load

from grpc_side.calls import Caller, message

OK = 200
"""Status of an answered call, as `Load` counts them; a failed call has the number of its gRPC status."""


@dataclass
class GrpcLoad(Load):
    """Sends the same call over and over; `path` is the model, `body` has the changes of the message."""

    def _work(self) -> None:
        request = message(self.path, **self.body)
        with Caller(self.port) as caller:
            while not self._stop.is_set():
                started = time.perf_counter()
                try:
                    version, status = caller.infer(request).model_version, OK
                except grpc.RpcError as error:
                    version, status = f"{error.code().name}: {error.details()}", error.code().value[0]
                    # Its first bytes had come: an answer that is a status alone has no initial metadata.
                    with self._lock:
                        self.cut += bool(error.initial_metadata())
                self._add(status, version, time.perf_counter() - started)
                time.sleep(self.pause_s)

    def _add(self, status: int, said: str, seconds: float) -> None:
        with self._lock:
            self.statuses[status] += 1
            self.latencies.append(seconds)
            if status == OK:
                self.versions[said] += 1
            else:
                self.failed_at.append(time.monotonic())
                self.failures.append(said)
