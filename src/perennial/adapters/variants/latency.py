"""Latency of two model files, measured in turns in one run."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from perennial.serving.onnx import ON_CPU, Execution, open_session

ROUNDS = 200
CALLS = {1: 20, 64: 5}
"""Rows of a request -> calls of a round: a single call is too short for the clock."""
WARM_UP = 5


def in_turns(
    parent: Path, variant: Path, rows: np.ndarray, execution: Execution = ON_CPU, rounds: int = ROUNDS
) -> tuple[np.ndarray, np.ndarray]:
    """Return the seconds of a call of the parent and of the variant in each round, float [rounds] each.

    Both run in this process, on one thread, and change the order from round to round: what else the machine does
    meets both alike.

    Args:
        parent: model file; variant: the other one, which alone runs on `execution`.
        rows: float32 [n, features] of a request.
    """
    sessions = [
        open_session(parent.read_bytes(), parent),
        open_session(variant.read_bytes(), variant, execution),
    ]
    feed = {"features": np.ascontiguousarray(rows, dtype=np.float32)}
    calls = CALLS.get(len(rows), 1)
    seconds = np.empty((rounds, 2))
    for session in sessions:
        for _ in range(WARM_UP):
            session.run(None, feed)
    for number in range(rounds):
        for place in (0, 1) if number % 2 else (1, 0):
            started = time.perf_counter()
            for _ in range(calls):
                sessions[place].run(None, feed)
            seconds[number, place] = (time.perf_counter() - started) / calls
    return seconds[:, 0], seconds[:, 1]
