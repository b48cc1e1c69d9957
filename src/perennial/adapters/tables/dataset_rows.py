"""Rows of a data set of the catalogue, of a package, or of a generator."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from perennial.adapters.table_files import TableFile
from perennial.core.governance.licensing import JOINT
from perennial.core.input_spec import InputKind
from perennial.errors import UsageError


class DatasetRows:
    """The Source port over a function that makes rows of files.

    Args:
        files: returns entry -> verified file; may download.
        make: the rows of these files.
        types: column -> its type.
        folder: keeps the rows as they were read last.
        names: the names by which the terms of the data are stated.
    """

    def __init__(
        self,
        files: Callable[[], Mapping[str, Path]],
        make: Callable[[Mapping[str, Path]], pd.DataFrame],
        types: Mapping[str, InputKind],
        folder: Path,
        names: tuple[str, ...],
    ) -> None:
        self._files = files
        self._make = make
        self._folder = folder
        self._names = names
        self._path = folder / f"{names[0]}.dataset.parquet"
        self._rows = TableFile(self._path, types, (), self.terms())

    def read(self) -> pd.DataFrame:
        """Return the columns of `types`.

        Raises:
            DatasetMissing: a file cannot be had. ChecksumMismatch: it is another file.
            MalformedInput: a column is missing, or a value is of another type.
        """
        made = self._make(self._files())
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            part = Path(folder) / self._path.name
            made.to_parquet(part, index=False)
            part.replace(self._path)
        return self._rows.read()

    def revision(self) -> str:
        """Return a hash of the rows of the last `read`."""
        if not self._path.is_file():
            raise UsageError(f"{self.terms()} has not been read", hint="run `perennial prepare`")
        return self._rows.revision()

    def terms(self) -> str:
        return JOINT.join(self._names)
