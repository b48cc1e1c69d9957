"""Packages that run with a model, and their stated licences (importlib.metadata, packaging)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import PackageMetadata, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from perennial.adapters.scanning.spdx import is_expression
from perennial.core.governance.bom import Package
from perennial.errors import SettingsError

PROJECT = "perennial"
MODEL_EXTRAS = ("lightgbm", "safetensors", "sklearn", "skops", "torch", "xgboost")
"""Extras of the project whose packages run with a model, where they are installed."""
CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-2-Clause AND BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "GNU Affero General Public License v3": "AGPL-3.0-only",
    "GNU Affero General Public License v3 or later (AGPLv3+)": "AGPL-3.0-or-later",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.0-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
}
"""Trove classifier -> SPDX. An ambiguous classifier stands for all licences that it may mean."""
WORDS = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd": "BSD-2-Clause AND BSD-3-Clause",
    "bsd license": "BSD-2-Clause AND BSD-3-Clause",
    "2-clause bsd": "BSD-2-Clause",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "isc license": "ISC",
    "mit license": "MIT",
    "mit -or- apache license 2.0": "MIT OR Apache-2.0",
    "new bsd": "BSD-3-Clause",
}
"""Text of `License:` in lower case -> SPDX."""


def licences(stated: Mapping[str, str]) -> dict[str, str]:
    """Return package -> licence for all packages that run with a model, direct and indirect.

    Args:
        stated: package -> SPDX expression that a person has read; it takes precedence.

    Raises:
        PackageNotFoundError: the project itself is not installed as a package.
    """
    known = {canonicalize_name(name): licence for name, licence in stated.items()}
    by_package: dict[str, str] = {}
    waiting, seen = list(_direct_needs()), set()
    while waiting:
        dependency = waiting.pop()
        if dependency in seen:
            continue
        seen.add(dependency)
        name, extras = dependency
        try:
            # Read once: parsing takes most of the time.
            metadata = distribution(name).metadata
        except PackageNotFoundError:
            by_package[name] = known.get(name, "")
            continue
        by_package[name] = known.get(name) or stated_by(metadata)
        waiting += _needs(metadata, extras)
    return dict(sorted(by_package.items()))


def direct_dependencies() -> list[Package]:
    """Return the direct dependencies of the project, with those of `MODEL_EXTRAS` that are installed.

    Raises:
        SettingsError: the project or a dependency is not installed.
    """
    try:
        return [_package(name) for name, _ in sorted(set(_direct_needs()))]
    except PackageNotFoundError as error:
        raise SettingsError(f"the package {error.name} is not installed", hint="run `make setup`") from error


def _package(name: str) -> Package:
    metadata = distribution(name).metadata
    return Package(name=metadata["Name"], version=metadata["Version"], licence=stated_by(metadata) or None)


def _direct_needs() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield name and extras of what the project needs, and of what its extras for models have installed."""
    metadata = distribution(PROJECT).metadata
    required = set(_needs(metadata, ()))
    yield from required
    for dependency in set(_needs(metadata, MODEL_EXTRAS)) - required:
        try:
            distribution(dependency[0])
        except PackageNotFoundError:
            continue
        yield dependency


def _needs(metadata: PackageMetadata, extras: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield name and extras of each dependency of a package in this environment."""
    for line in metadata.get_all("Requires-Dist") or ():
        needed = Requirement(line)
        marker = needed.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield canonicalize_name(needed.name), tuple(sorted(needed.extras))


def stated_by(metadata: PackageMetadata) -> str:
    """Return the licence of a package's metadata as an SPDX expression, or its own text if that is none.

    Sources in order of trust: `License-Expression` (PEP 639), a short and known `License`, classifiers.
    """
    if expression := metadata.get("License-Expression"):
        return expression
    text = (metadata.get("License") or "").strip()
    line = text.splitlines()[0].strip() if text else ""
    if is_expression(line):
        return line
    if known := WORDS.get(line.lower()):
        return known
    names = [
        classifier.removeprefix("License :: ").removeprefix("OSI Approved").removeprefix(" :: ")
        for classifier in metadata.get_all("Classifier") or ()
        if classifier.startswith("License :: ")
    ]
    # Several classifiers may mean a choice or a conjunction; a conjunction is the safe reading.
    translated = [CLASSIFIERS.get(name) for name in names if name]
    if translated and all(translated):
        return " AND ".join(f"({spdx})" if " " in spdx else spdx for spdx in translated)  # type: ignore[operator]
    return line[:60]
