"""Ports of a batch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.core.data_spec import CsvForm, RowsSpec, TableSpec
from perennial.core.input_spec import InputKind
from perennial.settings import Settings
from perennial.wiring import tables, training, versions
from perennial.wiring.database import store
from perennial.wiring.here import trusted

if TYPE_CHECKING:
    from perennial.core.feature_spec import FeatureSpec
    from perennial.core.spec import ModelSpec
    from perennial.core.version import VersionRef
    from perennial.flows.batch.features import OpenJoin
    from perennial.flows.batch.score import BatchPorts
    from perennial.ports.batch import BatchRows, FeatureJoin
    from perennial.serving.session import LoadedVersion


def batch_ports(
    spec: ModelSpec,
    settings: Settings,
    source: str,
    out: str,
    connection: str | None,
    into: str | None,
    keep: tuple[str, ...],
    workers: int,
    aside: Path,
    newest: bool = False,
    as_of: str | None = None,
) -> BatchPorts:
    """Return the ports of a batch.

    Args:
        source: file or folder; SELECT statement where there is a connection.
        connection: environment variable with the address of a database; None: `source` is a file.
        into: environment variable with the address of a database, in which `out` is a new table; None: a file.
        keep: columns that the result has, too, besides the key of the spec.
        aside: empty folder for the files of the version.
        newest: join the values of the online store. as_of: join those known at the time in this column.
    """
    from perennial.adapters.batch.parts import PartFiles
    from perennial.adapters.batch.workers import Processes
    from perennial.flows.batch.score import BatchPorts

    registry, parts = versions.registry(settings), PartFiles(Path(out).absolute())
    if into is not None:
        from perennial.adapters.batch.table_parts import TableParts, parts_of

        parts = TableParts(parts_of(settings.state / "batch", into, out), into, out)
    given = spec.data.source
    key = given.key if isinstance(given, RowsSpec) else None

    def opener(ref: VersionRef) -> Callable[[], LoadedVersion]:
        from perennial import model_probe
        from perennial.serving.desired_state import DesiredVersion
        from perennial.serving.session import load

        files = registry.fetch(ref, aside / ref.digest)
        wanted, keys = DesiredVersion.of(ref), trusted(settings)
        load(wanted, files, keys, model_probe.model_problem)  # tried once, in a child
        return functools.partial(load, wanted, files, keys, _tried)

    def rows(types: Mapping[str, InputKind], described: str) -> BatchRows:
        from perennial.adapters.batch.rows import FileRows, copied_query
        from perennial.adapters.file_scan import is_s3

        path: Path | str = source if is_s3(source) else Path(source)
        if connection is not None:
            path = copied_query(source, connection, parts.folder)
        form = given.csv if isinstance(given, TableSpec) else CsvForm()
        missing = given.missing if isinstance(given, TableSpec) else tables.MISSING
        return FileRows(path, types, keep, () if key is None else (key,), missing, form)

    join: OpenJoin | None = None
    if newest:
        join = functools.partial(_newest, settings)
    elif as_of is not None:
        join = functools.partial(_as_of, spec, settings, as_of)
    return BatchPorts(registry, opener, rows, parts, Processes(workers), store(settings).ledger, join)


def _newest(settings: Settings, features: FeatureSpec) -> FeatureJoin:
    from perennial.flows.batch.features import NewestFeatures
    from perennial.serving.online_features import OnlineFeatures

    return NewestFeatures(features, OnlineFeatures(settings.feast_dir, online_store=settings.online_store))


def _as_of(spec: ModelSpec, settings: Settings, column: str, features: FeatureSpec) -> FeatureJoin:
    from perennial.flows.batch.features import FeaturesAsOf, require_time

    require_time(features, column)
    views = training.preparation(spec)(training.source(spec, settings).read()).views
    return FeaturesAsOf(features, training.features(settings), views, column)


def _tried(model: bytes) -> str:
    """Return that a model file is sound: the process that began the batch has tried it."""
    return ""
