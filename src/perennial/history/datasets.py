"""The dataset catalogue (`configs/datasets.yaml`): what each data set is, where it is, its digest."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, PositiveInt, ValidationError

from perennial.core.spec import Frozen
from perennial.errors import DatasetMissing, MalformedInput, SpecError


class Cut(Frozen):
    """Which part of the public file the entry means: its first CI cycles."""

    cycles: PositiveInt

    def apply(self, content: bytes, source: str) -> bytes:
        """Header and the lines whose last `;` field is at most `cycles`, each kept byte for byte.

        For IOF/ROL this must give the bytes that the entry's digest names. It was checked on a file made
        longer by hand, not on the public file: should that differ in its line ends, the digest says so.
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
    """One entry of the catalogue."""

    name: str
    title: str
    homepage: str
    address: str | None = Field(description="public file; None when only the mirror has these bytes")
    licence: str
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
        SpecError: it is not YAML, or an entry lacks or breaks a key; names each.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return {name: Dataset(name=name, **entry) for name, entry in content.items()}
    except (yaml.YAMLError, AttributeError, TypeError) as error:
        raise SpecError(f"{path} is no catalogue: {error}", hint="name: {title: ..., sha256: ...}") from error
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise SpecError(
            f"{path} has a wrong entry:\n" + "\n".join(lines), hint="see its first lines"
        ) from error


def find(entries: dict[str, Dataset], name: str) -> Dataset:
    """The entry of that name.

    Raises:
        DatasetMissing: there is none; the hint names the nearest.
    """
    if name not in entries:
        near = difflib.get_close_matches(name, entries, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise DatasetMissing(f"no data set is named {name!r}", hint=f"{meant}perennial data list")
    return entries[name]
