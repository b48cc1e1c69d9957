"""The work folder: files that a training step leaves for the next."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from perennial import files
from perennial.errors import DatasetMissing, MalformedInput

if TYPE_CHECKING:
    import pandas as pd

Record = TypeVar("Record", bound=BaseModel)


class Workdir:
    """Paths in the work folder.

    prepare writes history, views, examples, source and revision; validate writes validation and data_docs;
    train writes features, model and train.json; evaluate writes evaluation, metrics and plots; register
    writes registered.json.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.history = folder / "history.parquet"
        self.views = folder / "views"
        self.examples = folder / "examples.parquet"
        self.revision = folder / "revision.json"
        self.source = folder / "source.json"
        self.validation = folder / "validation.json"
        self.data_docs = folder / "data_docs"
        self.features = folder / "features.parquet"
        self.model = folder / "model"
        self.trained = folder / "train.json"
        self.evaluation = folder / "evaluation.json"
        self.metrics = folder / "metrics.json"
        self.plots = folder / "plots"
        self.registered = folder / "registered.json"

    def forget_evaluation(self) -> None:
        """Remove the files of `evaluate` and `register`."""
        for path in (self.evaluation, self.metrics, self.registered):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.plots, ignore_errors=True)

    def read_views(self) -> dict[str, pd.DataFrame]:
        """Read every feature table, by name; a table as source has none."""
        return {path.stem: read_table(path, "prepare") for path in sorted(self.views.glob("*.parquet"))}


def read_table(path: Path, step: str) -> pd.DataFrame:
    """Read a table of an earlier step.

    Raises:
        DatasetMissing: the step has not run.
        MalformedInput: the file is damaged.
    """
    import pandas as pd

    _there(path, step)
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise MalformedInput(f"{path} is no Parquet file: {error}", hint=f"run `perennial {step}`") from error


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a Parquet file atomically."""
    with files.replacing(path) as temporary:
        frame.to_parquet(temporary, index=False)


def read_record(path: Path, kind: type[Record], step: str) -> Record:
    """Read a JSON record of an earlier step; raises as `read_table`."""
    _there(path, step)
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise MalformedInput(f"{path}: {error}", hint=f"run `perennial {step}` again") from error


def write_json(path: Path, content: BaseModel | dict[str, Any] | list[Any]) -> None:
    """Write a record or plain JSON atomically."""
    files.write_json(path, content.model_dump(mode="json") if isinstance(content, BaseModel) else content)


def _there(path: Path, step: str) -> None:
    if not path.is_file():
        raise DatasetMissing(f"{path} is not there", hint=f"run `perennial {step}` first")
