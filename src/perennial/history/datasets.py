"""The dataset catalogue (`configs/datasets.yaml`): description, address and digest of each data set."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import Field, PositiveInt, ValidationError

from perennial.core.frozen import Frozen
from perennial.core.governance.licensing import Consent, Terms
from perennial.errors import DatasetMissing, MalformedInput, SpecError

Entry = TypeVar("Entry")


class Cut(Frozen):
    """Part of the public file that an entry uses: its first CI cycles."""

    cycles: PositiveInt

    def apply(self, content: bytes, source: str) -> bytes:
        """Return the header and the lines whose last `;` field is at most `cycles`, unchanged.

        The digest of the entry is that of the result. This was tested on a file made longer by hand, not on
        the public file; if its line ends differ, the check of the digest fails.
        """
        lines = content.splitlines(keepends=True)
        kept = lines[:1]
        for number, line in enumerate(lines[1:], start=2):
            try:
                cycle = int(line.rsplit(b";", 1)[-1])
            except ValueError as error:
                raise MalformedInput(
                    f"{source}:{number}: the last field is no cycle number", hint="is it the data set at all?"
                ) from error
            if cycle <= self.cycles:
                kept.append(line)
        return b"".join(kept)


class Dataset(Frozen):
    """An entry of the catalogue."""

    name: str
    title: str
    homepage: str
    address: str | None = Field(description="public file; None if only the mirror has it")
    licence: str
    consent: Consent
    format: Literal["iofrol", "arff", "parquet"]
    mirror: str = Field(description="path below the mirror folder")
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    cut: Cut | None = None

    @property
    def filename(self) -> str:
        return Path(self.mirror).name


def catalogue(path: Path) -> dict[str, Dataset]:
    """Read the catalogue file.

    Raises:
        SpecError: the file is not YAML, or keys are missing or wrong; names each.
    """
    return _read(path, lambda name, entry: Dataset(name=name, **entry))


def terms(catalogue_file: Path, sources: Path) -> dict[str, Terms]:
    """Return the terms of every source of data, from the catalogue and from the statements of the project.

    Raises:
        SpecError: as `catalogue`.
    """
    entries = catalogue(catalogue_file).values()
    stated = {entry.name: Terms(licence=entry.licence, consent=entry.consent) for entry in entries}
    return stated | _read(sources, lambda _, entry: Terms(**entry))


def _read(path: Path, make: Callable[[str, dict[str, Any]], Entry]) -> dict[str, Entry]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}  # a new project states nothing yet
        return {name: make(name, entry) for name, entry in content.items()}
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error}", hint="restore it from git") from error
    except (yaml.YAMLError, AttributeError, TypeError) as error:
        raise SpecError(f"{path} is no catalogue: {error}", hint="name: {title: ..., sha256: ...}") from error
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()]
        raise SpecError(
            f"{path} has a wrong entry:\n" + "\n".join(lines), hint="see its first lines"
        ) from error


def find(entries: dict[str, Dataset], name: str) -> Dataset:
    """Return the entry of a name.

    Raises:
        DatasetMissing: no such entry; the hint names the most similar.
    """
    if name not in entries:
        near = difflib.get_close_matches(name, entries, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise DatasetMissing(f"no data set is named {name!r}", hint=f"{meant}perennial data list")
    return entries[name]
