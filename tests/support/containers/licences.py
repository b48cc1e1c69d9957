"""Licences of installed packages, judged by deploy/licences.yaml. As a command it prints what does not pass."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import yaml
from packaging.utils import canonicalize_name

from perennial.adapters.scanning.installed_packages import PROJECT, stated_by
from perennial.adapters.scanning.spdx import licence_status
from perennial.core.governance.bom import Package
from perennial.core.governance.licensing import LicenceStatus

POLICY = Path(__file__).resolve().parents[3] / "deploy" / "licences.yaml"


def installed() -> list[Package]:
    """Return every installed package but our own, with the licence that its metadata state, as the gate reads it."""
    metadata = {canonicalize_name(found.metadata["Name"]): found.metadata for found in distributions()}
    return [
        Package(name=name, version=of["Version"], licence=stated_by(of) or None)
        for name, of in sorted(metadata.items())
        if name != PROJECT
    ]


def problems(packages: Iterable[Package], policy: Mapping[str, Any]) -> list[str]:
    """Return a line for each package that the policy does not let pass, and for each exception that is not needed."""
    lines = []
    for package in packages:
        name, exceptions = package.name, policy["exceptions"]
        read = policy["read"].get(name)
        if read is not None and read["version"] != package.version:
            lines.append(
                f"{name} {package.version}: its licence was read in {read['version']}; read it again"
            )
            continue
        licence = read["licence"] if read else package.licence or ""
        if licence_status(licence, policy["allowed"]) is LicenceStatus.ALLOWED:
            if name in exceptions:
                lines.append(f"{name}: an exception that it does not need")
        elif name not in exceptions:
            lines.append(f"{name} {package.version}: {licence or 'no licence is stated'}")
    return lines


def main() -> int:
    packages = installed()
    lines = problems(packages, yaml.safe_load(POLICY.read_text()))
    print(
        "\n".join(lines)
        or f"{len(packages)} packages: each licence is allowed, or an exception with its reason"
    )
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
