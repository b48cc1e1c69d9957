"""Approvals: which people allowed which digest to get traffic, and how many it takes. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from enum import StrEnum

from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from perennial.core.events import SystemActor, account_key, is_person
from perennial.core.frozen import Frozen
from perennial.core.spec import ApprovalSpec

TAG = "approval"
"""Tag on a registry version: `approved`, `approved <digest prefix>` or `rejected`, set by a person."""
BY = "approval.by."
"""Prefix of the tags in which the registry's server says who set TAG, which nobody else can write:
`approval.by.<account>` = `approved|rejected <digest> <ISO 8601 time>`."""
WAITING = "waiting"
"""What TAG says while somebody is asked: whatever it said before counts for nothing more."""
REGISTRY = SystemActor.MLFLOW.value
"""Channel of what was said by a tag."""
PREFIX = 8
"""Fewest digits of a digest that name it."""
AND = ","
"""Between accounts that asked for the same; no name of an account has it."""
_TIME = TypeAdapter(AwareDatetime)


class Risk(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Approval(Frozen):
    """One account allows exactly one digest."""

    digest: str
    actor: str
    at: AwareDatetime
    channel: str = Field(description="policy, mlflow, airflow or cli")
    note: str = ""
    seal: str = Field("", description="of the gate report that it relies on; stored ones may lack it")

    def valid(self, digest: str, spec: ApprovalSpec, now: datetime) -> bool:
        return self.digest == digest and now - self.at <= spec.lapses_after


class TagAnswer(StrEnum):
    """What somebody wrote into the approval tag."""

    NONE = "none"
    APPROVED = "approved"
    REJECTED = "rejected"
    OTHER_DIGEST = "approved, but another digest"
    UNREADABLE = "unreadable"


class RegistryAnswer(Frozen):
    """What one account said in the registry, as its server attributes it."""

    account: str
    answer: TagAnswer = Field(description="APPROVED or REJECTED")
    digest: str
    at: AwareDatetime


def names_digest(text: str, digest: str) -> bool:
    """Whether `text` is the digest or a prefix of it that is long enough to mean it."""
    return len(text) >= PREFIX and digest.startswith(text.lower())


def read_tag(value: str | None, digest: str) -> TagAnswer:
    """Read the tag of the version whose gated file has this digest."""
    words = (value or "").split()
    if not words or words == [WAITING]:
        return TagAnswer.NONE
    verb, named = words[0].lower(), words[1:]
    if verb == "rejected":
        return TagAnswer.REJECTED
    if verb != "approved" or len(named) > 1:
        return TagAnswer.UNREADABLE
    if named and not names_digest(named[0], digest):
        return TagAnswer.OTHER_DIGEST
    return TagAnswer.APPROVED


def registry_answers(tags: Mapping[str, str], since: datetime) -> tuple[RegistryAnswer, ...]:
    """What accounts said at `since` or later, in order; a tag of another form says nothing.

    The server's times may be whole seconds: so is `since` taken.
    """
    found = [_said(name.removeprefix(BY), value) for name, value in tags.items() if name.startswith(BY)]
    start = since.replace(microsecond=0)
    fresh = [one for one in found if one is not None and one.at >= start]
    return tuple(sorted(fresh, key=lambda one: (one.at, one.account)))


def withdrawn_approvals(approvals: Iterable[Approval], tags: Mapping[str, str]) -> tuple[Approval, ...]:
    """Approvals that accounts gave in the registry, and that stand there under their names no more.

    Args:
        tags: all of them; a registry that did not answer says nothing of anybody.
    """
    return tuple(
        one
        for one in approvals
        if one.channel == REGISTRY and is_person(one.actor) and not _stands(one, tags)
    )


def _stands(given: Approval, tags: Mapping[str, str]) -> bool:
    now = _said(given.actor, tags.get(f"{BY}{given.actor}", ""))
    return now is not None and (now.answer, now.digest) == (TagAnswer.APPROVED, given.digest)


def _said(account: str, value: str) -> RegistryAnswer | None:
    words = value.split()
    if len(words) != 3 or words[0] not in (TagAnswer.APPROVED, TagAnswer.REJECTED):
        return None
    try:
        at = _TIME.validate_python(words[2])
    except ValidationError:
        return None
    return RegistryAnswer(account=account, answer=TagAnswer(words[0]), digest=words[1], at=at)


def required(spec: ApprovalSpec, risk: Risk) -> int:
    """How many people must approve; 0: the policy itself does."""
    return {Risk.LOW: spec.low_risk, Risk.MEDIUM: spec.medium_risk, Risk.HIGH: spec.high_risk}[risk]


def automatic(spec: ApprovalSpec, risk: Risk, digest: str, now: datetime) -> Approval | None:
    """The approval that the spec itself gives; None when it wants people."""
    if required(spec, risk) > 0:
        return None
    return Approval(
        digest=digest, actor=SystemActor.POLICY, at=now, channel=SystemActor.POLICY, note=f"{risk.value} risk"
    )


def valid_approvals(
    approvals: Iterable[Approval], digest: str, spec: ApprovalSpec, now: datetime
) -> tuple[Approval, ...]:
    """Those that are of this digest and have not lapsed."""
    return tuple(one for one in approvals if one.valid(digest, spec, now))


def refusal(actor: str, approvals: Iterable[Approval], asked_by: Collection[str]) -> str:
    """Why the approval of this account does not count; empty when it does.

    Accounts are compared without regard to case: no tool of ours tells `Ann` and `ann` apart as people.

    Args:
        approvals: that stand already.
        asked_by: who started the release and who registered the version.
    """
    me = account_key(actor)
    if not is_person(actor):
        return f"{actor or 'nobody'} is no account of a person"
    if is_among(actor, asked_by):
        return f"{actor} asked for this release: somebody else must approve it"
    if any(me == account_key(one.actor) for one in approvals):
        return f"{actor} has approved it already: another person is needed"
    return ""


def is_among(actor: str, accounts: Iterable[str]) -> bool:
    """Whether it is one of these accounts."""
    return account_key(actor) in map(account_key, accounts)


def people(accounts: Iterable[str]) -> tuple[str, ...]:
    """Each account of a person once, in order; one text may name several, with AND between them."""
    named = [one for text in accounts for one in text.split(AND)]
    found = {account_key(one): one.strip() for one in named if is_person(one)}
    return tuple(found.values())


def progress(approvals: Collection[Approval], needed: int, asked_by: Collection[str]) -> str:
    """`1 of 2: alice; still needs 1 more, not bob (who asked)`."""
    given = ", ".join(one.actor for one in approvals)
    told = f"{len(approvals)} of {needed}" + f": {given}" * bool(given)
    left = needed - len(approvals)
    if left <= 0:
        return told
    not_by = f", not {' or '.join(people(asked_by))} (who asked)" if people(asked_by) else ""
    return f"{told}; still needs {left}{' more' * bool(approvals)}{not_by}"
