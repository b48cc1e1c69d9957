"""Rows a second of processor time of `perennial batch`, for Parquet and CSV files, and one and two processes.

Run: python benchmarks/batch.py [--rows 4000000]   (about a minute)

The model is the network of `benchmarks/serving.py` (a hidden layer of 64) over 17 typed inputs: 12 numbers, 2 whole
numbers, a boolean, a category and a time. Processor time is that of all processes of the batch, from reading the
rows to the result on the disk, and counts the hash of the input, too. The start of the command (imports, verifying
the version) is measured apart, by a batch of 1000 rows.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from perennial.core.input_spec import InputSpec

if TYPE_CHECKING:
    from batching.world import BatchWorld

# Further imports are in `main`: each process of a batch imports this module again.

COLOURS = ("red", "green", "blue", "black", "white")
INPUTS = {
    **{f"x{number}": InputSpec(type="float", missing="refuse") for number in range(12)},
    **{f"n{number}": InputSpec(type="int", missing="refuse") for number in range(2)},
    "open": InputSpec(type="bool", missing="refuse"),
    "colour": InputSpec(type="category", missing="refuse", categories=COLOURS, unknown="refuse"),
    "since": InputSpec(type="timestamp", missing="refuse"),
}


def made(rows: int) -> pa.Table:
    random = np.random.default_rng(0)
    seconds = random.integers(1_700_000_000, 1_760_000_000, rows)
    columns = {name: random.normal(size=rows) for name in INPUTS if name.startswith("x")}
    columns |= {name: random.integers(0, 1000, rows) for name in INPUTS if name.startswith("n")}
    return pa.table(
        {
            "id": np.arange(rows),
            **columns,
            "open": random.integers(0, 2, rows).astype(bool),
            "colour": pa.array(np.array(COLOURS)[random.integers(0, len(COLOURS), rows)]),
            "since": pa.array(seconds * 1_000_000, pa.timestamp("us", tz="UTC")),
        }
    )


def furnished(folder: Path) -> BatchWorld:
    """Return a project whose version is the network of the serving benchmark."""
    from batching.world import BatchWorld
    from serving_targets.world import make_version
    from signing import signed

    world = BatchWorld(folder, INPUTS)
    ref, files = world.version
    network = folder / "network"
    features = SimpleNamespace(names=tuple(INPUTS), service=None, entities=(), request={})
    make_version(SimpleNamespace(features=features), network)
    (files / "model.onnx").write_bytes((network / "model.onnx").read_bytes())
    world.version = (ref.model_copy(update={"digest": signed(files, "tiny")}), files)
    world.enter()
    return world


def measured(world: BatchWorld, *line: object) -> tuple[float, float]:
    """Return processor and wall seconds of a batch."""
    before, started = spent(), time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = world.batch(*line, "--json")
    assert code == 0, f"exit code {code}"
    return spent() - before, time.perf_counter() - started


def spent() -> float:
    """Return the processor seconds of this process and of its ended children."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> None:
    from serving_targets.world import processor

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=4_000_000)
    given = parser.parse_args()
    print(
        f"{processor()}, {os.cpu_count()} cores, {datetime.now(UTC):%Y-%m-%d}; {given.rows:,} rows, 17 inputs"
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        world, table = furnished(folder), made(given.rows)
        pq.write_table(table, folder / "in.parquet")
        pyarrow.csv.write_csv(table, folder / "in.csv")
        pq.write_table(table.slice(0, 1000), folder / "few.parquet")
        measured(world, folder / "few.parquet", folder / "first.parquet")
        start, _ = measured(world, folder / "few.parquet", folder / "few.out.parquet")
        print(f"1000 rows, with everything imported: {start:.2f} s of processor time")
        print("| input | result | processes | rows a core second | rows a second |")
        print("| --- | --- | --- | --- | --- |")
        for source, out, workers in (
            ("parquet", "parquet", 1),
            ("parquet", "parquet", 2),
            ("parquet", "csv", 1),
            ("csv", "parquet", 1),
            ("csv", "parquet", 2),
        ):
            result = folder / f"{source}-{workers}.{out}"
            cpu, wall = measured(world, folder / f"in.{source}", result, "--workers", workers)
            print(
                f"| {source} | {out} | {workers} | {given.rows / cpu:,.0f} | {given.rows / wall:,.0f} |",
                flush=True,
            )
            result.unlink()


if __name__ == "__main__":
    main()
