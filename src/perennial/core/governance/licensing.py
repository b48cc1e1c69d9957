"""Rules of the gate about licences and consent. Pure.

The gate reads the terms when it judges, not when the data arrived: withdrawn consent counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from perennial.core.frozen import Frozen
from perennial.core.verdict import Judgement, Verdict

SHOWN = 8
JOINT = " + "
"""Separator of the sources of a history (`perennial.history.store`)."""


class ConsentState(StrEnum):
    """Consent of the people that data is about, or of its owner."""

    GIVEN = "given"
    REFUSED = "refused"
    """Refused or withdrawn."""
    NOT_NEEDED = "not_needed"
    """Not personal data, or another lawful basis; `Consent.by` names who decided this."""


class Consent(Frozen):
    """Consent to the use of a data source for training, and who states it."""

    state: ConsentState
    by: Annotated[str, Field(min_length=1)] = Field(description="who states the consent")
    why: str = ""


class Terms(Frozen):
    """Stated licence and consent of a data source."""

    licence: str = Field(description="SPDX expression; LicenseRef-own for own data")
    consent: Consent


class LicenceStatus(StrEnum):
    """Status of a licence by the allow list of the spec."""

    ALLOWED = "allowed"
    FORBIDDEN = "forbidden"
    UNKNOWN = "unknown"
    """No licence is stated, or the text names no known licence: a person has to read it."""


class Licensed(Frozen):
    """A package or a data source with its licence and status."""

    name: str
    licence: str = Field(description="SPDX expression, or the stated text; may be empty")
    status: LicenceStatus


def sources_of(text: str) -> list[str]:
    """Return the names by which terms are stated: `iofrol + simulator (seed 7)` -> iofrol, simulator."""
    matches = (re.match(r"\s*([\w./-]+)", source) for source in text.split(JOINT))
    return list(dict.fromkeys(match[1] for match in matches if match))


def judge_consent(sources: Sequence[str], terms: Mapping[str, Terms]) -> Judgement:
    """Judge consent: every source needs consent, or a statement that none is needed."""
    statements, good = [], bool(sources)
    for source in sources:
        if source not in terms:
            statements.append(f"{source}: nothing is stated")
            good = False
            continue
        consent = terms[source].consent
        words = consent.state.value.replace("_", " ")
        why = f" ({consent.why})" if consent.why else ""
        statements.append(f"{source}: {words}, says {consent.by}{why}")
        good = good and consent.state is not ConsentState.REFUSED
    return Judgement(
        rule="data_consent",
        verdict=Verdict.PASS if good else Verdict.FAIL,
        observed="; ".join(statements) or "the version does not say where its data came from",
        needed="consent of every source given or not needed",
    )


def unknown_training_data(trained: str) -> tuple[Judgement, Judgement]:
    """Judge consent and licence of the data of an imported version: a person has to know them.

    Args:
        trained: where and by whom it was trained, as its importer says.
    """
    observed = f"imported: the data that it learnt from is not known here; trained: {trained}"
    needs = {
        "data_consent": "consent of every source given or not needed",
        "licence_data": "on the list gate.licences.allowed",
    }
    consent, licence = (
        Judgement(rule=rule, verdict=Verdict.UNSURE, observed=observed, needed=needed)
        for rule, needed in needs.items()
    )
    return consent, licence


def judge_data_licence(sources: Sequence[Licensed]) -> Judgement:
    """Judge the licences of the data sources."""
    observed = "; ".join(map(_described, sources)) or "the version does not say where its data came from"
    return _judgement("licence_data", sources, observed, unknown=not sources)


def judge_dependencies(packages: Sequence[Licensed]) -> Judgement:
    """Judge the licences of all packages that run with the model; the judgement names those not allowed."""
    odd = [package for package in packages if package.status is not LicenceStatus.ALLOWED]
    odd.sort(key=lambda package: (package.status is LicenceStatus.UNKNOWN, package.name))
    parts = list(map(_described, odd[:SHOWN]))
    if len(odd) > SHOWN:
        parts.append(f"and {len(odd) - SHOWN} more")
    common = Counter(package.licence for package in packages).most_common(3)
    counts = ", ".join(f"{licence} {count}" for licence, count in common)
    parts.append(f"{len(packages)} packages, {counts}")
    return _judgement("licence_dependencies", packages, "; ".join(parts))


def _judgement(rule: str, items: Sequence[Licensed], observed: str, unknown: bool = False) -> Judgement:
    """Judge the worst status: forbidden is FAIL; unknown is UNSURE, which raises the risk for a person to look."""
    statuses = {item.status for item in items}
    verdict = Verdict.PASS
    if LicenceStatus.FORBIDDEN in statuses:
        verdict = Verdict.FAIL
    elif unknown or LicenceStatus.UNKNOWN in statuses:
        verdict = Verdict.UNSURE
    return Judgement(
        rule=rule, verdict=verdict, observed=observed, needed="on the list gate.licences.allowed"
    )


def _described(item: Licensed) -> str:
    mark = "" if item.status is LicenceStatus.ALLOWED else f" ({item.status.value})"
    return f"{item.name}: {item.licence or 'none stated'}{mark}"
