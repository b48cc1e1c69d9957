"""The manifest of a backup: what it holds, with hashes. It is written last: a backup without it is none."""

from __future__ import annotations

from importlib.metadata import version

from packaging.version import Version
from pydantic import AwareDatetime, Field, ValidationError

from perennial import __version__
from perennial.adapters.backup.folder import BackupFolder
from perennial.core.frozen import Frozen
from perennial.core.governance.ledger import Head
from perennial.errors import BackupBroken, SchemaMismatch

FILE, UNFINISHED = "manifest.json", ".unfinished"
STATE, PLACES, SEALED = "state", "places", "keys.sealed"
PACKAGES = ("mlflow", "apache-airflow", "feast", "dvc")
"""Packages whose stored form a newer version migrates and an older one cannot read."""


class SavedFile(Frozen):
    """A file of a backup."""

    size: int = Field(ge=0)
    sha256: str


class Manifest(Frozen):
    """Contents of `manifest.json`."""

    format: int = 1
    made: AwareDatetime
    perennial: str = __version__
    packages: dict[str, str] = Field(description="package -> installed version")
    state: str = Field(description="state folder that was saved")
    schema_revision: str | None = Field(description="of the database of releases; None: it was empty")
    ledger: Head = Field(description="end of the ledger as the saved database has it")
    databases: dict[str, str] = Field(
        description="name -> postgresql; a name that is missing is an SQLite file"
    )
    places: dict[str, str] = Field(description="name -> folder or address of files beside the state folder")
    artifacts: str = Field(description="place of MLflow's artifacts")
    keys: bool = Field(description="whether `keys.sealed` has private keys and passwords")
    left_out: dict[str, int] = Field(description="what was left out -> number of files")
    tenant: str | None = Field(None, description="tenant whose plant was saved")
    files: dict[str, SavedFile]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files.values())


def packages() -> dict[str, str]:
    """Return the installed version of each package."""
    return {name: version(name) for name in PACKAGES}


def read(folder: BackupFolder) -> Manifest:
    """Read the manifest of a backup.

    Raises:
        BackupBroken: there is none, since the backup was stopped or is something else, or it cannot be read.
        KeyMissing, DecryptionFailed: it is encrypted, and does not open.
    """
    path = folder.path(FILE)
    try:
        manifest = Manifest.model_validate_json(folder.read(FILE))
    except FileNotFoundError as error:
        what = "an unfinished backup" if (folder.root / UNFINISHED).exists() else "no backup"
        raise BackupBroken(
            f"{folder.root} is {what}: there is no {FILE}",
            hint="name another, or give perennial backup again",
        ) from error
    except ValidationError as error:
        raise BackupBroken(f"{path}: {error.errors()[0]['msg']}", hint="restore another backup") from error
    if manifest.format != 1:
        raise BackupBroken(
            f"{path} has format {manifest.format}; this version of Perennial knows 1",
            hint="use the newer one",
        )
    return manifest


def verify(folder: BackupFolder, manifest: Manifest) -> None:
    """Compare every file with its hash.

    Raises:
        BackupBroken: a file is missing, added, or another.
        KeyMissing, DecryptionFailed: a file does not open.
    """
    listed = {folder.stored_name(name) for name in (*manifest.files, FILE)}
    differing = sorted((folder.stored() - {UNFINISHED}) ^ listed) or [
        folder.stored_name(name)
        for name, file in manifest.files.items()
        if folder.size_and_digest(name) != (file.size, file.sha256)
    ]
    if differing:
        raise BackupBroken(
            f"{folder.root / differing[0]} is missing, added or changed ({len(differing)} such files)",
            hint="restore another backup; nothing was written",
        )


def refuse_newer(manifest: Manifest) -> None:
    """Refuse a backup of newer packages than are installed: their databases cannot be read.

    Raises:
        SchemaMismatch: a package is older here; names it.
    """
    installed = packages() | {"perennial": __version__}
    for name, saved in (manifest.packages | {"perennial": manifest.perennial}).items():
        if name in installed and Version(saved) > Version(installed[name]):
            raise SchemaMismatch(
                f"the backup was made with {name} {saved}, and {installed[name]} is installed",
                hint=f"install {name} {saved} or newer",
            )
