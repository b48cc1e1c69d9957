"""The offer of a search, by which a process on another machine takes trials of it."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field

from perennial.core.frozen import Frozen
from perennial.core.spec import TuningSpec


def _below(name: str) -> str:
    if not name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise ValueError(f"{name!r} is no relative path")
    return name


class SharedSearch(Frozen):
    """A search whose trials any process with the same code, spec and data may take."""

    study: str
    files: dict[Annotated[str, AfterValidator(_below)], Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]] = (
        Field(description="name in the data repository -> DVC md5")
    )
    holdout_from: int = Field(description="first group of the holdout, which no trial sees")
    tuning: TuningSpec
