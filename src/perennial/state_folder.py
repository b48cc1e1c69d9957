"""The state folder: its folders, the tenant whose plant it is, and the mark by which it belongs to that tenant."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import ClassVar, Protocol

from pydantic import BaseModel, Field

from perennial import files
from perennial.errors import OtherTenant

PATTERN = r"[a-z][a-z0-9]{1,19}"
"""No `_` and no `-`: NAME_mlflow and perennial-NAME then belong to one tenant only."""
MARK = "tenant"
"""File of the state folder with the name of its tenant; every account of the plant may read it."""
READABLE = 0o644
UNFINISHED = f".{MARK}."
"""Part of the name of a mark that a kill has left unfinished."""


class TenantSettings(BaseModel):
    """A field per variable; `Settings` reads them from the environment."""

    tenant: str | None = Field(
        None,
        pattern=f"^{PATTERN}$",
        description="tenant whose plant this is; none where a server has one plant",
    )


def refuse_other(place: str, owner: str | None, tenant: str | None) -> None:
    """Refuse a place of another tenant; None is a plant without a tenant.

    Raises:
        OtherTenant: the owner is not `tenant`.
    """
    if owner == tenant:
        return
    whose = "no tenant" if owner is None else f"the tenant {owner}"
    ours = "is not set" if tenant is None else f"is {tenant}"
    if owner is None:
        hint = "with addresses of this tenant again; or, if it shall be this tenant's: perennial tenant claim"
    else:
        hint = f"use the settings of {owner}, or the addresses of your own"
    raise OtherTenant(
        f"{place} belongs to {whose}, and PERENNIAL_TENANT {ours}; nothing was changed", hint=hint
    )


def refuse_other_folder(state: Path, tenant: str | None) -> None:
    """Refuse a state folder of another tenant, and for a tenant one that has content and no mark.

    Raises:
        OtherTenant: it is not of `tenant`.
    """
    owner = owner_of(state)
    if owner is not None or (tenant is not None and _has_content(state)):
        refuse_other(f"the state folder {state}", owner, tenant)


def owner_of(state: Path) -> str | None:
    """Return the tenant that has marked a state folder."""
    try:
        return (state / MARK).read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return None


def mark(state: Path, tenant: str) -> None:
    """Mark a state folder as a tenant's. Several processes may do so; one that is marked stays as it is.

    Raises:
        OtherTenant: another tenant's process was faster.
    """
    if owner_of(state) is None:
        state.mkdir(parents=True, exist_ok=True)
        temporary = state / f"{UNFINISHED}{os.getpid()}"
        files.write_text(temporary, f"{tenant}\n", READABLE)
        temporary.chmod(READABLE)  # a umask may have taken rights away
        with contextlib.suppress(FileExistsError):
            os.link(temporary, state / MARK)
        temporary.unlink()
    refuse_other(f"the state folder {state}", owner_of(state), tenant)


def _has_content(state: Path) -> bool:
    try:
        with os.scandir(state) as entries:
            return any(UNFINISHED not in entry.name for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError:  # what cannot be looked into is not taken for empty
        return True


class HasState(Protocol):
    """Settings that name a state folder."""

    @property
    def state(self) -> Path: ...


class StateFolder:
    """An attribute of the settings: a folder below the state folder."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, settings: HasState, owner: type) -> Path:
        return settings.state / self._name


class StateFolders(BaseModel):
    """A part of the settings: folders that are each written by a single component."""

    downloads: ClassVar = StateFolder("downloads")
    history_dir: ClassVar = StateFolder("history")
    """CI histories as ingested: <history>/<part>.parquet."""
    tables_dir: ClassVar = StateFolder("tables")
    """Tables that were imported or read from databases: <table>/<part>.parquet."""
    data_repo: ClassVar = StateFolder("data")
    """Separate git and DVC repository; a commit is a data revision."""
    quarantine: ClassVar = StateFolder("quarantine")
    feast_dir: ClassVar = StateFolder("feast")
    mlflow_dir: ClassVar = StateFolder("mlflow")
    airflow_dir: ClassVar = StateFolder("airflow")
    serving_dir: ClassVar = StateFolder("serving")
    """pools/<pool>.json (desired state), store/<digest>/ (model files), log/ (predictions)."""
    envoy_dir: ClassVar = StateFolder("envoy")
    reports: ClassVar = StateFolder("reports")
    engines: ClassVar = StateFolder("engines")
    """Engines that TensorRT has built, by GPU."""
