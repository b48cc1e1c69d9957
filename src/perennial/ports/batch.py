"""Ports of a batch: its rows, its parts, and the processes that score."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from perennial.core.batch.plan import BatchCounts, BatchPlan
    from perennial.core.batch.scoring import ScoredRows
    from perennial.core.input_encoding import Column, Fault
    from perennial.core.input_spec import InputKind


class BatchChunk(Protocol):
    """Consecutive rows of the input, which can be sent to another process."""

    number: int
    """Place of the part among the parts of the file, from 0."""
    first_row: int
    """Number of the first row in the input, from 1."""

    def __len__(self) -> int: ...

    refused: tuple[Fault, ...]
    """Rows that cannot be scored, for what was joined with them."""

    def columns(self) -> dict[str, Column]:
        """Return the inputs of the model."""

    def with_columns(self, columns: Mapping[str, Column], refused: tuple[Fault, ...]) -> BatchChunk:
        """Return the rows with other inputs."""


class FeatureJoin(Protocol):
    """Features of rows by entity."""

    asked: Mapping[str, InputKind]
    """Columns that the input must have, with their types."""
    words: str
    """Which values these are, for the record."""

    def __call__(
        self, columns: Mapping[str, Column], rows: int
    ) -> tuple[dict[str, Column], tuple[Fault, ...]]:
        """Return the inputs of the model, and one fault for each row that is refused.

        Args:
            columns: those that it asked for, name -> [rows].

        Raises:
            FeaturesUnavailable: the store does not answer. MalformedInput: it cannot use a key or a value.
        """


class BatchRows(Protocol):
    """Rows of the input (DuckDB)."""

    copied: tuple[str, ...]
    """Columns that the result has, too."""

    def revision(self) -> str:
        """Return the SHA-256 over the rows."""

    def count(self) -> int | None:
        """Return the number of rows; None where it is only known after reading them."""

    def chunks(self, size: int, skip: Collection[int]) -> Iterator[BatchChunk]:
        """Yield the rows in order, `size` in each chunk; the same input gives the same chunks.

        Args:
            skip: numbers of chunks to leave out.

        Raises:
            MalformedInput: the file is no table.
        """


class BatchParts(Protocol):
    """Parts of the result in a folder beside it, and the result. It can be sent to another process."""

    def working(self) -> AbstractContextManager[None]:
        """Hold the folder; raises UsageError where the result is there already, or another run holds it."""

    def begin(self, plan: BatchPlan) -> Mapping[int, BatchCounts]:
        """Keep the plan and return the parts of an earlier run: number -> counts.

        Raises:
            ChecksumMismatch: the earlier run read other rows. UsageError: it had another plan otherwise.
        """

    def write(self, chunk: BatchChunk, scored: ScoredRows, version: str) -> BatchCounts:
        """Write a part, whole or not at all, with the version that answered."""

    def finish(self) -> tuple[str, str | None]:
        """Make the result and the file of rejected rows of the parts; returns their paths, None without such rows."""

    def clear(self) -> None:
        """Remove the parts."""


class BatchWorkers(Protocol):
    """Processes that work at chunks."""

    def each(
        self, prepare: Callable[[], Callable[[BatchChunk], BatchCounts]], chunks: Iterable[BatchChunk]
    ) -> Iterator[BatchCounts]:
        """Yield what the work gives for each chunk, in any order.

        Args:
            prepare: is sent to each process, and makes the work there.

        Raises:
            ToolError: a process ended.
        """
