"""Look up versions in the registry."""

from __future__ import annotations

from perennial.core.training.registration import VersionRecord
from perennial.errors import UnknownVersion
from perennial.ports import Registry


def find_version(model: str, which: str, registry: Registry) -> VersionRecord:
    """Return the record of a version.

    Args:
        which: semantic version, alias, or `key:N`.

    Raises:
        UnknownVersion: the registry has no such version.
    """
    record = registry.find(model, which)
    if record is None:
        raise UnknownVersion(f"{model} has no version {which!r}", hint=f"perennial models show {model}")
    return record
