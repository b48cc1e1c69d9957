"""Adapters of a training."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from perennial import catalog
from perennial.core.data_spec import DatasetSpec, HistorySpec, SqlSpec, TableSpec
from perennial.core.governance.identity import Role
from perennial.core.spec import ModelSpec
from perennial.core.training.leaderboard import TEMPLATE
from perennial.core.training.templates import TEMPLATES, missing_packages
from perennial.errors import SpecError
from perennial.installation import SHIPPED
from perennial.settings import Settings, load
from perennial.wiring.accounts import sign_in
from perennial.wiring.on_first_use import OnFirstUse
from perennial.wiring.training_workers import refuse_unshared

if TYPE_CHECKING:
    import pandas as pd

    from perennial import ports
    from perennial.adapters.dataset_files import DatasetFiles
    from perennial.core.feature_view import ViewSpec
    from perennial.core.training.capsule import Provenance
    from perennial.flows.training.fit import Build
    from perennial.flows.training.prepare import Prepared
    from perennial.history.store import HistoryStore
    from perennial.models.base import Model

OWN = "own"
"""Name of the model's own class among the templates that compete with it."""


def history_store(settings: Settings) -> HistoryStore:
    from perennial.history.store import HistoryStore

    return HistoryStore(settings.history_dir)


def source(spec: ModelSpec, settings: Settings) -> ports.Source:
    """Return the data that a model learns from."""
    given = spec.data.source
    if isinstance(given, HistorySpec):
        from perennial.history.source import StoredHistory

        return StoredHistory(history_store(settings), given.name)
    from perennial.flows.training.tables import column_types

    types = column_types(spec, given)
    if isinstance(given, SqlSpec):
        from perennial.adapters.tables.sql_rows import Origin, SqlRows

        origin = Origin(given.connection, given.query, given.table, given.high_water)
        return SqlRows(origin, types, settings.tables_dir, given.name)
    if isinstance(given, DatasetSpec):
        from perennial.adapters.tables.dataset_rows import DatasetRows

        make: Callable[[Mapping[str, Path]], pd.DataFrame] = entrypoint(given.read, spec)
        return DatasetRows(
            lambda: _verified(given.files, settings),
            make,
            types,
            settings.tables_dir,
            given.files or (given.name,),
        )
    from perennial.adapters.file_scan import location
    from perennial.adapters.table_files import TableFile

    return TableFile(location(settings.project, given.path), types, given.missing, given.name, given.csv)


def _verified(names: tuple[str, ...], settings: Settings) -> dict[str, Path]:
    """Return entry -> verified file, from the mirror folder or the public address."""
    from perennial.history.datasets import catalogue, find

    entries, files = catalogue(settings.configs / "datasets.yaml"), dataset_files(settings)
    return {name: files.fetch(find(entries, name), lambda done, size: None) for name in names}


def rows_of(spec: ModelSpec, path: Path, now: datetime) -> pd.DataFrame:
    """Read a file as the source of a model: a CI history, or a table with the columns and types of the spec.

    Args:
        now: aware; a history refuses later times.

    Raises:
        DatasetMissing: there is no such file. MalformedInput: it is something else.
    """
    given = spec.data.source
    if isinstance(given, HistorySpec):
        from perennial.history import files

        return files.read(path, now)
    from perennial.adapters.file_scan import PLAIN
    from perennial.adapters.table_files import TableFile
    from perennial.flows.training.tables import column_types

    missing, form = (given.missing, given.csv) if isinstance(given, TableSpec) else (("",), PLAIN)
    return TableFile(path, column_types(spec, given), missing, given.name, form).read()


def preparation(spec: ModelSpec) -> Callable[[pd.DataFrame], Prepared]:
    """Return the function from the rows of a source to feature tables and examples.

    Raises:
        SpecError: the spec names a function that cannot be imported.
    """
    given = spec.data.source
    if isinstance(given, HistorySpec):
        make: Callable[[pd.DataFrame], Prepared] = entrypoint(given.prepare, spec)
        return make
    from perennial.flows.training.tables import table_examples

    return functools.partial(table_examples, spec, given, views=lambda: view_tables(spec, load()))


def view_tables(spec: ModelSpec, settings: Settings) -> dict[str, pd.DataFrame]:
    """Read the tables of the feature views that a model over rows uses.

    Raises:
        SpecError: a view is wrong, or names no source.
        Others: as `ports.Source.read`.
    """
    paths = [path for path in catalog.used_views(spec, settings.project) if path.suffix == ".yaml"]
    return {path.stem: view_rows(catalog.feature_view(path), settings) for path in paths}


def view_rows(view: ViewSpec, settings: Settings) -> pd.DataFrame:
    """Read the table of a feature view; raises as `view_tables`."""
    from perennial.core.feature_view import SqlOrigin

    given = view.source
    if given is None:
        raise SpecError(
            f"feature view {view.name}: source is null",
            hint="a model over rows needs the source of its views",
        )
    if isinstance(given, SqlOrigin):
        from perennial.adapters.tables.sql_rows import Origin, SqlRows

        origin = Origin(given.connection, given.query, given.table, given.high_water)
        return SqlRows(origin, view.read_types, settings.tables_dir, view.name).read()
    from perennial.adapters.file_scan import location
    from perennial.adapters.table_files import TableFile

    place = location(settings.project, given.path)
    return TableFile(place, view.read_types, given.missing, view.name, given.csv).read()


def dataset_files(settings: Settings) -> DatasetFiles:
    from perennial.adapters.dataset_files import DatasetFiles

    return DatasetFiles(settings.downloads, settings.data_mirror)


def data_store(settings: Settings) -> ports.DataStore:
    from perennial.adapters.dvc_data import DvcData

    return DvcData(settings.data_repo, data_remote(settings), settings.s3_encryption)


def data_remote(settings: Settings) -> str:
    """Return the place of the data revisions."""
    return settings.dvc_remote or str(settings.state / "dvc-remote")


def validator() -> ports.Validator:
    from perennial.adapters.gx_validator import GxValidator

    return GxValidator()


def features(settings: Settings) -> ports.Features:
    """Return the feature store; Feast is imported at the first use, which a model over sent inputs never makes."""
    return OnFirstUse(lambda: _feast(settings))  # type: ignore[return-value]


def _feast(settings: Settings) -> ports.Features:
    from perennial.hidden_packages import hidden

    with hidden("torch"):
        from perennial.adapters.feast.features import FeastFeatures

    return FeastFeatures(
        settings.project / "feature_repo",
        settings.feast_dir,
        lambda: catalog.specs(settings),
        config=settings.shipped("feature_repo/feature_store.yaml"),
        online_store=settings.online_store,
    )


def tracker(settings: Settings) -> ports.Tracker:
    from perennial.adapters.mlflow.tracker import MlflowTracker

    sign_in(settings, Role.TRAINING)
    return MlflowTracker(settings.tracking, settings.artifacts)


def scorer() -> ports.Scorer:
    from perennial.adapters.onnx_scorer import OnnxScorer
    from perennial.model_probe import model_problem

    return OnnxScorer(model_problem)


def model_class(spec: ModelSpec) -> type[Model]:
    """Import the spec's entrypoint; with `tuning.templates` return the choice among it and the templates.

    Raises:
        SpecError: the module or the class is missing, or is no Model; or several workers cannot fit it.
    """
    from perennial.models.base import Model

    model = entrypoint(spec.trainable(), spec)
    if not (isinstance(model, type) and issubclass(model, Model)):
        raise SpecError(f"{spec.name}: {spec.entrypoint} is no Model", hint="see perennial.models.base")
    if spec.training.workers > 1:
        refuse_unshared(spec, model)
    if not spec.tuning.templates:
        return model
    from perennial.models.templates.choice import choice_of

    others = {name: entrypoint(TEMPLATES[name].address, spec) for name in competitors(spec)}
    # The module of a model over an untouched template is that template.
    others = {name: other for name, other in others.items() if other.architecture != model.architecture}
    return choice_of({OWN: model, **others})


def competitors(spec: ModelSpec) -> list[str]:
    """Return the templates that `tuning.templates` names; with `auto` those that are installed.

    Raises:
        PackageMissing: a named one is not installed.
    """
    from perennial.wiring.new_model import installed, template

    if spec.tuning.templates == "auto":
        return [name for name, each in TEMPLATES.items() if not missing_packages(each, installed)]
    return [template(name)[0].name for name in spec.tuning.templates]


def first_trials(spec: ModelSpec) -> list[dict[str, str]]:
    """Return parts of parameters that the first trials must have: each kind of model is tried."""
    if not spec.tuning.templates:
        return []
    candidates = model_class(spec).candidates  # type: ignore[attr-defined]  # a choice
    return [{TEMPLATE: name} for name in candidates]


def build(spec: ModelSpec) -> Build:
    """Return the model class of a spec, with the types of the inputs that its caller sends.

    Raises:
        SpecError: as `model_class`.
    """
    model = model_class(spec)
    return functools.partial(model, inputs=spec.features.inputs) if spec.features.inputs else model


def entrypoint(address: str, spec: ModelSpec):
    """Import the `module:name` of a spec, from the package or the project folder (`models/`)."""
    module, _, name = address.partition(":")
    _find_modules_of(load().project)
    try:
        imported = importlib.import_module(module)
        named = getattr(imported, name)
    except (ImportError, AttributeError) as error:
        raise SpecError(
            f"{spec.name}: cannot import {address}: {error}", hint="the spec names module:function"
        ) from error
    own = load().project / f"{module.replace('.', '/')}.py"
    if own.is_file() and not own.samefile(imported.__file__ or "."):
        raise SpecError(
            f"{spec.name}: {module} is {imported.__file__}, not {own}",
            hint="two folders have a module of this name: run the command in the project folder",
        )
    return named


def provenance(spec: ModelSpec, settings: Settings) -> Provenance:
    """Return commit and hashes of the checkout that a training starts from."""
    from perennial.adapters.checkout import provenance_of

    _find_modules_of(settings.project)
    return provenance_of(settings.project, SHIPPED, spec)


def _find_modules_of(project: Path) -> None:
    """Make the modules of a project importable, behind everything that is installed."""
    if str(project) not in sys.path:
        sys.path.append(str(project))
