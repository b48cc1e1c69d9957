"""Rows of the table, and the clock behind them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

Result = TypeVar("Result")


@dataclass(frozen=True)
class Figure:
    """A row of the table."""

    what: str
    wall: str
    cpu: str
    note: str = ""


def timed(what: str, call: Callable[[], Result], note: Callable[[Result], str] = lambda _: "") -> Figure:
    """Run a call once; `note` says something of its result."""
    began, cpu = time.perf_counter(), time.process_time()
    result = call()
    wall, used = time.perf_counter() - began, time.process_time() - cpu
    return Figure(what, f"{wall:.2f} s", f"{used:.2f} s", note(result))


def repeated(what: str, calls: list[Callable[[], object]], note: str = "") -> Figure:
    """Run calls one after the other; give p50 and p99."""
    walls, used = [], []
    for call in calls:
        began, cpu = time.perf_counter(), time.process_time()
        call()
        walls.append((time.perf_counter() - began) * 1000)
        used.append((time.process_time() - cpu) * 1000)
    wall, cpu = (np.quantile(times, (0.5, 0.99)) for times in (walls, used))
    return Figure(what, f"{wall[0]:.1f} / {wall[1]:.1f} ms", f"{cpu[0]:.1f} / {cpu[1]:.1f} ms", note)


def megabytes(folder: Path, pattern: str = "*") -> float:
    return sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file()) / 1e6
