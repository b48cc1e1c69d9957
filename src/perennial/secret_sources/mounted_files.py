"""Secrets in files: of an account, of Docker, or of a Kubernetes secret that is mounted."""

from __future__ import annotations

from pathlib import Path

from perennial.secret_errors import SecretForbidden, SecretMissing
from perennial.secret_sources.reference import SecretReference

LINK = "..data"
"""Link by which the kubelet replaces all files of a mounted secret at once, and then removes the old ones."""
TRIES = 3


class FileSecrets:
    """Reads files; a file that a new version of a mounted secret replaces in between is read again."""

    def read(self, reference: SecretReference) -> str:
        path = Path(reference.place)
        for attempt in range(TRIES):
            try:
                return path.read_text(encoding="utf-8").strip()
            except FileNotFoundError as error:
                is_mounted = (path.parent / LINK).is_symlink()
                if not is_mounted or attempt == TRIES - 1:
                    raise _missing(reference, error.strerror or "") from None
            except PermissionError:
                raise SecretForbidden(
                    f"{reference}: this account may not read it", hint=f"ls -l {path}"
                ) from None
            except OSError as error:
                raise _missing(reference, error.strerror or "") from None
            except UnicodeDecodeError:
                raise SecretMissing(f"{reference}: no UTF-8 text", hint="a file with the value") from None
        raise AssertionError("the last attempt returns or raises")


def _missing(reference: SecretReference, why: str) -> SecretMissing:
    return SecretMissing(f"{reference}: {why}", hint="name a readable file with the value")
