"""The packages that this project asks for by name, as they are installed here (importlib.metadata)."""

from __future__ import annotations

from importlib import metadata

from packaging.requirements import Requirement

from perennial.core.bom import Package
from perennial.errors import SettingsError

PROJECT = "perennial"
LONGEST_NAME = 100
"""Some packages put the whole text of their licence where its name belongs."""


def direct_dependencies() -> list[Package]:
    """Without those of extras.

    Raises:
        SettingsError: the project, or a package that it needs, is not installed.
    """
    try:
        wanted = [Requirement(text) for text in metadata.requires(PROJECT) or ()]
        named = {one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})}
        return [_package(name) for name in sorted(named)]
    except metadata.PackageNotFoundError as error:
        raise SettingsError(f"the package {error.name} is not installed", hint="run `make setup`") from error


def _package(name: str) -> Package:
    told = metadata.metadata(name)
    return Package(name=name, version=metadata.version(name), licence=licence_of(told))


def licence_of(told: metadata.PackageMetadata) -> str | None:
    """The SPDX expression (PEP 639) if there is one, else the short text, else the classifiers."""
    if expression := told.get("License-Expression"):
        return expression
    text = (told.get("License") or "").strip()
    if text and text.upper() != "UNKNOWN" and "\n" not in text and len(text) <= LONGEST_NAME:
        return text
    found = [
        one.rsplit(" :: ", 1)[1]
        for one in told.get_all("Classifier") or ()
        if one.startswith("License ::") and not one.endswith("OSI Approved")
    ]
    return " and ".join(found) or None
