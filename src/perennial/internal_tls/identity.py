"""The files of a process's certificate, laid out as Kubernetes mounts a Secret of cert-manager."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from perennial.errors import SettingsError

CHAIN, KEY, TRUSTED, COMBINED = "tls.crt", "tls.key", "ca.crt", "tls-combined.pem"
DATA = "..data"
"""Link to the folder with the files of now; a renewal replaces the link, so that they change together."""
HINT = "perennial certificates renew, or mount the Secret of cert-manager there (docs/guide/mtls.md)"

Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Identity:
    """A folder with the certificate of a role, its key and the authorities that it trusts.

    Attributes:
        folder: with `tls.crt`, `tls.key` and `ca.crt`; clients of MLflow need `tls-combined.pem`, too.
    """

    folder: Path

    @property
    def chain(self) -> Path:
        return self.folder / CHAIN

    @property
    def key(self) -> Path:
        return self.folder / KEY

    @property
    def trusted(self) -> Path:
        return self.folder / TRUSTED

    @property
    def combined(self) -> Path:
        return self.folder / COMBINED

    def check(self) -> Identity:
        """Return itself where its files can be read.

        Raises:
            SettingsError: one of them cannot.
        """
        for path in (self.chain, self.key, self.trusted):
            if not os.access(path, os.R_OK):
                raise SettingsError(f"PERENNIAL_INTERNAL_TLS: {path} cannot be read", hint=HINT)
        return self

    def now(self) -> Identity:
        """Return the folder behind the link, whose files belong together whatever is renewed meanwhile."""
        data = self.folder / DATA
        return Identity(Path(os.path.realpath(data))) if data.is_symlink() else self

    def stamp(self) -> Stamp:
        """Return a value that changes when a file is replaced.

        Raises:
            OSError: a file is not there.
        """
        return _stamp(self.chain, self.key, self.trusted)


@dataclass(frozen=True)
class PublicPair:
    """A certificate that the public trusts, and its key, which may lie anywhere."""

    chain: Path
    key: Path

    def now(self) -> PublicPair:
        """Return itself."""
        return self

    def stamp(self) -> Stamp:
        """Return a value that changes when a file is replaced.

        Raises:
            OSError: a file is not there.
        """
        return _stamp(self.chain, self.key)


def _stamp(*paths: Path) -> Stamp:
    statuses = [os.stat(path) for path in paths]
    return tuple((status.st_ino, status.st_mtime_ns, status.st_size) for status in statuses)
