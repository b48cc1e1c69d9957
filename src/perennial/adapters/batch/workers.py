"""The BatchWorkers port: this process, or several of multiprocessing."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.connection import wait as wait_for_end

from perennial.core.batch.plan import BatchCounts
from perennial.errors import ToolError
from perennial.ports.batch import BatchChunk

Work = Callable[[BatchChunk], BatchCounts]
AHEAD = 2
"""Chunks that wait for each process: more would only take memory."""


class Processes:
    """`number` processes; a single one is this process."""

    def __init__(self, number: int) -> None:
        self._number = number

    def each(self, prepare: Callable[[], Work], chunks: Iterable[BatchChunk]) -> Iterator[BatchCounts]:
        if self._number == 1:
            yield from map(prepare(), chunks)
            return
        # Spawned, since a fork would take over the threads of DuckDB and ONNX Runtime.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self._number, context, _begin, (prepare,)) as pool:
            try:
                yield from _results(pool, iter(chunks), self._number * AHEAD)
            except BrokenProcessPool as error:
                raise ToolError(
                    "a process of the batch was ended, perhaps for its memory",
                    hint="give the command again: it goes on where it was; with fewer --workers or --part-rows",
                ) from error
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def _results(pool: ProcessPoolExecutor, chunks: Iterator[BatchChunk], most: int) -> Iterator[BatchCounts]:
    waiting: set[Future[BatchCounts]] = set()
    while True:
        waiting |= {pool.submit(_do, chunk) for chunk in islice(chunks, most - len(waiting))}
        if not waiting:
            return
        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()


_work: list[Work] = []
"""The work of this process, made once."""


def _begin(prepare: Callable[[], Work]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _work.append(prepare())


def _end_with_parent() -> None:
    """End this process with its parent, which tells nobody when it is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_end([parent.sentinel])
        os._exit(1)


def _do(chunk: BatchChunk) -> BatchCounts:
    return _work[0](chunk)
