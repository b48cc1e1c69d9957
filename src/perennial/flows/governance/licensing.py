"""Look up the terms of a version's data and of the installed packages, and judge them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError

from perennial.core.governance import licensing as terms
from perennial.core.governance.licensing import LicenceStatus, Licensed, Terms
from perennial.core.spec import ModelSpec
from perennial.core.training.imported import TRAINED_TAG, is_imported
from perennial.core.training.registration import VersionRecord
from perennial.core.verdict import Judgement, Verdict


@dataclass(frozen=True)
class TermsPorts:
    """Sources of terms and licences."""

    stated: Mapping[str, Terms]
    """Data source -> its terms."""
    packages: Callable[[Mapping[str, str]], Mapping[str, str]]
    """Stated licences -> licence of each package (`adapters.scanning.installed_packages`)."""
    status: Callable[[str, Collection[str]], LicenceStatus]
    """Licence, allow list -> status (`adapters.scanning.spdx`)."""


def check_terms(spec: ModelSpec, record: VersionRecord, ports: TermsPorts) -> tuple[Judgement, ...]:
    """Judge consent and licence of the training data, and the licences of the packages.

    The tag `data.source` of the version names its data sources.
    """
    if is_imported(record.tags):
        unknown = terms.unknown_training_data(record.tags.get(TRAINED_TAG, ""))
        return (*unknown, _dependencies(spec, ports, partial(_licensed, spec, ports)))
    sources = terms.sources_of(record.tags.get("data.source", ""))
    licensed, stated = partial(_licensed, spec, ports), ports.stated
    data = [licensed(source, stated[source].licence if source in stated else "") for source in sources]
    return (
        terms.judge_consent(sources, ports.stated),
        terms.judge_data_licence(data),
        _dependencies(spec, ports, licensed),
    )


def _licensed(spec: ModelSpec, ports: TermsPorts, name: str, licence: str) -> Licensed:
    return Licensed(name=name, licence=licence, status=ports.status(licence, spec.gate.licences.allowed))


def _dependencies(spec: ModelSpec, ports: TermsPorts, licensed: Callable[[str, str], Licensed]) -> Judgement:
    try:
        licences = ports.packages(spec.gate.licences.stated)
    except PackageNotFoundError as error:
        return Judgement(
            rule="licence_dependencies",
            verdict=Verdict.ERROR,
            observed=f"{error.name} is not installed as a package: nothing says what it needs",
            needed="pip install of the project",
        )
    return terms.judge_dependencies([licensed(name, licence) for name, licence in licences.items()])
