"""On what terms data and code are used: licences and consent, as rules of the gate. Pure.

Terms are read when the gate asks, not when the data came: consent that was withdrawn since then counts.
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
"""Between the sources of a history that has several (`perennial.history.store`)."""


class ConsentState(StrEnum):
    GIVEN = "given"
    REFUSED = "refused"
    """Or withdrawn."""
    NOT_NEEDED = "not_needed"
    """No person's data, or another lawful basis; `by` says who decided so."""


class Consent(Frozen):
    """Whether those whom the data is about, or who own it, agree to its use for training."""

    state: ConsentState
    by: Annotated[str, Field(min_length=1)] = Field(description="who says so")
    why: str = ""


class Terms(Frozen):
    """What is stated of one source of data."""

    licence: str = Field(description="SPDX expression; LicenseRef-own for data of one's own")
    consent: Consent


class LicenceStatus(StrEnum):
    """Of a licence, by the allow list of the spec."""

    ALLOWED = "allowed"
    FORBIDDEN = "forbidden"
    UNKNOWN = "unknown"
    """None is stated, or what is stated names no licence: a person has to read it."""


class Licensed(Frozen):
    """A package or a source of data, and how it stands."""

    name: str
    licence: str = Field(description="SPDX expression, or what is stated instead; may be empty")
    standing: LicenceStatus


def sources_of(text: str) -> list[str]:
    """`iofrol + simulator (seed 7)` -> iofrol, simulator: the names by which terms are stated."""
    found = (re.match(r"\s*([\w./-]+)", one) for one in text.split(JOINT))
    return list(dict.fromkeys(one[1] for one in found if one))


def judge_consent(sources: Sequence[str], terms: Mapping[str, Terms]) -> Judgement:
    """Every source must have consent, or somebody's word that none is needed."""
    told, good = [], bool(sources)
    for source in sources:
        if source not in terms:
            told.append(f"{source}: nothing is stated")
            good = False
            continue
        consent = terms[source].consent
        words = consent.state.value.replace("_", " ")
        told.append(f"{source}: {words}, says {consent.by}" + (f" ({consent.why})" if consent.why else ""))
        good = good and consent.state is not ConsentState.REFUSED
    return Judgement(
        rule="data_consent",
        verdict=Verdict.PASS if good else Verdict.FAIL,
        observed="; ".join(told) or "the version does not say where its data came from",
        needed="consent of every source given or not needed",
    )


def judge_data_licence(found: Sequence[Licensed]) -> Judgement:
    told = "; ".join(f"{one.name}: {one.licence or 'none stated'}{_mark(one)}" for one in found)
    observed = told or "the version does not say where its data came from"
    return _judgement("licence_data", found, observed, unknown=not found)


def judge_dependencies(found: Sequence[Licensed]) -> Judgement:
    """All packages that run with the model; those that are not allowed by name."""
    odd = [one for one in found if one.standing is not LicenceStatus.ALLOWED]
    odd.sort(key=lambda one: (one.standing is LicenceStatus.UNKNOWN, one.name))
    told = [f"{one.name}: {one.licence or 'none stated'}{_mark(one)}" for one in odd[:SHOWN]]
    if len(odd) > SHOWN:
        told.append(f"and {len(odd) - SHOWN} more")
    common = Counter(one.licence for one in found).most_common(3)
    told.append(f"{len(found)} packages, " + ", ".join(f"{licence} {count}" for licence, count in common))
    return _judgement("licence_dependencies", found, "; ".join(told))


def _judgement(rule: str, found: Sequence[Licensed], observed: str, unknown: bool = False) -> Judgement:
    """Forbidden is FAIL. Unknown is UNSURE: it raises the risk, so that a person looks."""
    standings = {one.standing for one in found}
    verdict = Verdict.PASS
    if LicenceStatus.FORBIDDEN in standings:
        verdict = Verdict.FAIL
    elif unknown or LicenceStatus.UNKNOWN in standings:
        verdict = Verdict.UNSURE
    return Judgement(
        rule=rule, verdict=verdict, observed=observed, needed="on the list gate.licences.allowed"
    )


def _mark(one: Licensed) -> str:
    return "" if one.standing is LicenceStatus.ALLOWED else f" ({one.standing.value})"
