"""A semantic version is given once, however many processes register at the same moment."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from pathlib import Path

import pytest

from perennial.adapters.sql.version_numbers import SqlVersionNumbers
from perennial.core.version import Change

pytestmark = pytest.mark.slow


def register(url: str, runs: list[str], barrier, numbers) -> None:
    """Run as one of several processes."""
    taken = SqlVersionNumbers(url)
    barrier.wait()
    for run in runs:
        numbers.put((run, taken.take("m", run, Change.RETRAINED, ["1.0.0"])))


def raced(url: str, runs: list[list[str]]) -> list[tuple[str, str]]:
    context = multiprocessing.get_context("spawn")
    barrier, numbers = context.Barrier(len(runs)), context.Queue()
    processes = [context.Process(target=register, args=(url, part, barrier, numbers)) for part in runs]
    for process in processes:
        process.start()
    given = [numbers.get(timeout=120) for part in runs for _ in part]
    for process in processes:
        process.join()
    return given


def test_processes_at_once_get_different_numbers(tmp_path: Path):
    runs = [[f"{process}-{run}" for run in range(8)] for process in range(3)]
    given = raced(f"sqlite:///{tmp_path / 'p.db'}", runs)
    assert max(Counter(number for _, number in given).values()) == 1
    assert {number for _, number in given} == {f"1.{minor}.0" for minor in range(1, 25)}, (
        "and none is left out"
    )


def test_the_same_run_keeps_its_number(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'p.db'}"
    given = raced(url, [["same"], ["same"], ["same"]])
    assert {number for _, number in given} == {"1.1.0"}
    assert SqlVersionNumbers(url).take("m", "same", Change.ARCHITECTURE, []) == "1.1.0"


@pytest.mark.parametrize(
    ("registered", "number"), [([], "1.0.0"), (["1.4.0"], "1.5.0"), (["2.0.0", "1.9.0"], "2.1.0")]
)
def test_numbers_that_the_registry_knows_count_too(tmp_path, registered, number):
    numbers = SqlVersionNumbers(f"sqlite:///{tmp_path / 'p.db'}")
    assert numbers.take("m", "run", Change.RETRAINED, registered) == number
    assert numbers.take("other", "run", Change.RETRAINED, []) == "1.0.0", "each model has its own"
