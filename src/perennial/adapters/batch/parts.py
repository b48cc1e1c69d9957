"""The BatchParts port: Arrow files in a folder beside the result, joined into a Parquet or CSV file at the end."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from pydantic import ValidationError

from perennial.adapters.batch.chunk import Chunk
from perennial.core.batch.plan import ROW, VERSION, BatchCounts, BatchPlan
from perennial.core.batch.scoring import ScoredRows
from perennial.errors import ChecksumMismatch, UsageError
from perennial.files import replacing, write_text

PLAN = "plan.json"
FINISHING = "finishing"
"""A file in the folder: from now on a result that is there is the batch's own."""
SCORED, REJECTED = "scored", "rejected"
ENDINGS = (".parquet", ".csv")


@dataclass(frozen=True)
class PartFiles:
    """Parts of the result `out`, in the folder `out` + `.parts`.

    A chunk gives `000000.rejected.arrow` where rows of it are rejected, and then `000000.scored.arrow`, whose presence
    says that the chunk is done.
    """

    out: Path

    @property
    def folder(self) -> Path:
        return self.out.with_name(f"{self.out.name}.parts")

    @property
    def rejected_to(self) -> Path:
        """Return the file of the rejected rows."""
        return self.out.with_name(f"{self.out.stem}.rejected{self.out.suffix}")

    @contextmanager
    def working(self) -> Iterator[None]:
        if self.out.suffix not in ENDINGS:
            raise UsageError(f"{self.out} is no name of a result", hint=f"it ends in {' or '.join(ENDINGS)}")
        lock = self.out.with_name(f".{self.out.name}.lock")
        self.out.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(lock, timeout=0):
                try:
                    yield self._prepare()
                finally:
                    if not self._has_begun():  # finished, or refused before anything was scored
                        shutil.rmtree(self.folder, ignore_errors=True)
                        lock.unlink(missing_ok=True)
        except Timeout as error:
            raise UsageError(f"another batch is writing {self.out}", hint="wait for it") from error

    def begin(self, plan: BatchPlan) -> dict[int, BatchCounts]:
        path = self.folder / PLAN
        if not path.is_file():
            write_text(path, plan.model_dump_json(indent=2) + "\n")
            return {}
        hint = f"give the earlier command again, or remove {self.folder} to begin anew"
        try:
            earlier = BatchPlan.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise UsageError(f"{path} is no plan of a batch", hint=hint) from error
        differences = plan.differences(earlier)
        if differences:
            kind = ChecksumMismatch if plan.revision != earlier.revision else UsageError
            raise kind(f"an unfinished batch in {self.folder}: {'; '.join(differences)}", hint=hint)
        return {
            int(part.name.split(".")[0]): BatchCounts(
                scored=_rows(part), rejected=_rows(part.with_name(part.name.replace(SCORED, REJECTED)))
            )
            for part in self._parts(SCORED)
        }

    def write(self, chunk: Chunk, scored: ScoredRows, version: str) -> BatchCounts:
        if scored.faults:
            rejected = {
                ROW: pa.array([chunk.first_row + fault.row for fault in scored.faults], pa.int64()),
                "column": [fault.column for fault in scored.faults],
                "value": [fault.value for fault in scored.faults],
                "reason": [fault.reason for fault in scored.faults],
            }
            _write(self.folder / f"{chunk.number:06}.{REJECTED}.arrow", pa.table(rejected))
        columns: dict[str, pa.Array | np.ndarray] = {ROW: pa.array(chunk.first_row + scored.rows, pa.int64())}
        columns |= {name: values.take(pa.array(scored.rows)) for name, values in chunk.copies().items()}
        columns |= {name: pa.array(values) for name, values in scored.columns.items()}
        columns[VERSION] = pa.repeat(version, len(scored.rows))
        _write(self.folder / f"{chunk.number:06}.{SCORED}.arrow", pa.table(columns))
        return BatchCounts(scored=len(scored.rows), rejected=len(scored.faults))

    def finish(self) -> tuple[str, str | None]:
        self._start_finishing()
        rejected = self._parts(REJECTED)
        if rejected:
            _join(rejected, self.rejected_to)
        _join(self._parts(SCORED), self.out)
        return str(self.out), str(self.rejected_to) if rejected else None

    def clear(self) -> None:
        shutil.rmtree(self.folder)

    def _start_finishing(self) -> None:
        write_text(self.folder / FINISHING, "")

    def _prepare(self) -> None:
        """Make the folder; raises UsageError where a result is there that is no batch's own."""
        has_begun = self._has_begun()
        if not (has_begun and (self.folder / FINISHING).is_file()):
            self._refuse_result()
        if has_begun:
            return
        shutil.rmtree(self.folder, ignore_errors=True)  # without a plan, what is there belongs to nothing
        self.folder.mkdir()

    def _refuse_result(self) -> None:
        for path in (self.out, self.rejected_to):
            if path.exists():
                raise UsageError(f"{path} is there already", hint="remove it, or name another OUT")

    def _has_begun(self) -> bool:
        return (self.folder / PLAN).is_file()

    def _parts(self, kind: str) -> list[Path]:
        parts = self.folder.glob(f"[0-9]*.{kind}.arrow")
        return sorted(parts, key=lambda part: int(part.name.split(".")[0]))


def _rows(path: Path) -> int:
    if not path.is_file():
        return 0
    with pa.ipc.open_file(path) as reader:
        return sum(reader.get_batch(number).num_rows for number in range(reader.num_record_batches))


def _write(path: Path, rows: pa.Table) -> None:
    with replacing(path) as temporary, pa.ipc.new_file(temporary, rows.schema) as writer:
        writer.write_table(rows)


def _join(parts: list[Path], into: Path) -> None:
    opens: Mapping[str, Callable[..., pq.ParquetWriter | pyarrow.csv.CSVWriter]] = {
        ".parquet": pq.ParquetWriter,
        ".csv": pyarrow.csv.CSVWriter,
    }
    with pa.ipc.open_file(parts[0]) as first:
        schema = first.schema
    with replacing(into) as temporary, opens[into.suffix](temporary, schema) as writer:
        for part in parts:
            with pa.ipc.open_file(part) as reader:
                writer.write_table(reader.read_all().cast(schema))
