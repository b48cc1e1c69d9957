"""Groups of a table's rows: what a split and a resample keep together.

A group has the same number in every revision of the data, so that a row that has once trained a champion is never
taken for new: periods count from 1970, and buckets are drawn by a hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np

BUCKETS = 1000


def periods(seconds: np.ndarray, length: timedelta) -> np.ndarray:
    """Return the number of the period of each time, int64 [n].

    Args:
        seconds: unix seconds, float [n].
    """
    return np.floor(seconds / length.total_seconds()).astype(np.int64)


def buckets(values: Sequence[Any], seed: int) -> np.ndarray:
    """Return a bucket from 0 to 999 for each value, int64 [n]; equal values share a bucket."""
    salt = seed.to_bytes(8, "big", signed=True)
    numbers = [
        int.from_bytes(hashlib.blake2b(_bytes(value), digest_size=8, key=salt).digest(), "big")
        for value in values
    ]
    return np.array([number % BUCKETS for number in numbers], dtype=np.int64)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
