"""Look up on what terms the data of a version and the installed packages are used, and judge them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError

from perennial.core.governance import licensing as terms
from perennial.core.governance.licensing import LicenceStatus, Licensed, Terms
from perennial.core.spec import ModelSpec
from perennial.core.training.registration import VersionRecord
from perennial.core.verdict import Judgement, Verdict


@dataclass(frozen=True)
class TermsPorts:
    stated: Mapping[str, Terms]
    """Source of data -> its terms."""
    packages: Callable[[Mapping[str, str]], Mapping[str, str]]
    """Package -> licence, given what the spec states of some (`adapters.scanning.installed_packages`)."""
    standing: Callable[[str, Collection[str]], LicenceStatus]
    """Licence and allow list -> how it stands (`adapters.scanning.spdx`)."""


def check_terms(spec: ModelSpec, record: VersionRecord, ports: TermsPorts) -> tuple[Judgement, ...]:
    """Consent and licence of the data that the version was trained on, and the licences of the packages.

    The version names the sources of its data by the tag `data.source`.
    """
    sources = terms.sources_of(record.tags.get("data.source", ""))

    def licensed(name: str, licence: str) -> Licensed:
        standing = ports.standing(licence, spec.gate.licences.allowed)
        return Licensed(name=name, licence=licence, standing=standing)

    data = [licensed(one, ports.stated[one].licence if one in ports.stated else "") for one in sources]
    return (
        terms.judge_consent(sources, ports.stated),
        terms.judge_data_licence(data),
        _dependencies(spec, ports, licensed),
    )


def _dependencies(spec: ModelSpec, ports: TermsPorts, licensed: Callable[[str, str], Licensed]) -> Judgement:
    try:
        found = ports.packages(spec.gate.licences.stated)
    except PackageNotFoundError as error:
        return Judgement(
            rule="licence_dependencies",
            verdict=Verdict.ERROR,
            observed=f"{error.name} is not installed as a package: nothing says what it needs",
            needed="pip install of the project",
        )
    return terms.judge_dependencies([licensed(name, licence) for name, licence in found.items()])
