"""Approvals of a digest by people: how many are needed, which are valid, who may give them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from enum import StrEnum

from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from perennial.core.events import SystemActor, account_key, is_person
from perennial.core.frozen import Frozen
from perennial.core.release_spec import ApprovalSpec

TAG = "approval"
"""Tag on a registry version: `approved`, `approved <digest prefix>` or `rejected`, set by a person."""
BY = "approval.by."
"""Prefix of the tags in which the registry's server says who set TAG, which nobody else can write:
`approval.by.<account>` = `approved|rejected <digest> <ISO 8601 time>`."""
WAITING = "waiting"
"""Value of TAG while people are asked; it replaces any earlier answer."""
REGISTRY = SystemActor.MLFLOW.value
"""Channel of answers given by a tag."""
PREFIX = 8
"""Least number of digits by which a digest may be named."""
AND = ","
"""Separator of accounts that asked for the same; no account name contains it."""
_TIME = TypeAdapter(AwareDatetime)


class Risk(StrEnum):
    """Risk of releasing a candidate; decides how many people must approve."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Approval(Frozen):
    """Permission of one account for exactly one digest."""

    digest: str
    actor: str
    at: AwareDatetime
    channel: str = Field(description="policy, mlflow, airflow or cli")
    note: str = ""
    issued_by: str = Field("", description="account that issued the actor's token; empty without a token")
    seal: str = Field("", description="seal of the gate report that it relies on, set when it is counted")

    @property
    def persons(self) -> tuple[str, ...]:
        """Names behind it. Whoever issued a token may hold it too, so holder and issuer count as one person."""
        return (self.actor, self.issued_by) if self.issued_by else (self.actor,)

    def valid(self, digest: str, spec: ApprovalSpec, now: datetime) -> bool:
        """Return whether it is for this digest and has not lapsed."""
        return self.digest == digest and now - self.at <= spec.lapses_after


class TagAnswer(StrEnum):
    """Meaning of the approval tag."""

    NONE = "none"
    APPROVED = "approved"
    REJECTED = "rejected"
    OTHER_DIGEST = "approved, but another digest"
    UNREADABLE = "unreadable"


class RegistryAnswer(Frozen):
    """Answer of one account in the registry, attributed by its server."""

    account: str
    answer: TagAnswer = Field(description="APPROVED or REJECTED")
    digest: str
    at: AwareDatetime


def names_digest(text: str, digest: str) -> bool:
    """Return whether `text` is the digest or a long enough prefix of it."""
    return len(text) >= PREFIX and digest.startswith(text.lower())


def read_tag(value: str | None, digest: str) -> TagAnswer:
    """Return the meaning of the tag for a version with this digest."""
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
    """Return the answers that accounts gave at `since` or later, in order; tags of another form are skipped.

    The server's times may be whole seconds, so `since` is cut to seconds, too.
    """
    answers = [_answer(name.removeprefix(BY), value) for name, value in tags.items() if name.startswith(BY)]
    start = since.replace(microsecond=0)
    recent = [answer for answer in answers if answer is not None and answer.at >= start]
    return tuple(sorted(recent, key=lambda answer: (answer.at, answer.account)))


def withdrawn_approvals(approvals: Iterable[Approval], tags: Mapping[str, str]) -> tuple[Approval, ...]:
    """Return approvals given in the registry whose tags are no longer there under the accounts' names.

    Args:
        tags: all approval tags of the version; not to be called when the registry did not answer.
    """
    return tuple(
        approval
        for approval in approvals
        if approval.channel == REGISTRY and is_person(approval.actor) and not _stands(approval, tags)
    )


def _stands(given: Approval, tags: Mapping[str, str]) -> bool:
    now = _answer(given.actor, tags.get(f"{BY}{given.actor}", ""))
    return now is not None and (now.answer, now.digest) == (TagAnswer.APPROVED, given.digest)


def _answer(account: str, value: str) -> RegistryAnswer | None:
    words = value.split()
    if len(words) != 3 or words[0] not in (TagAnswer.APPROVED, TagAnswer.REJECTED):
        return None
    try:
        at = _TIME.validate_python(words[2])
    except ValidationError:
        return None
    return RegistryAnswer(account=account, answer=TagAnswer(words[0]), digest=words[1], at=at)


def required(spec: ApprovalSpec, risk: Risk) -> int:
    """Return how many people must approve; 0: the policy itself does."""
    return {Risk.LOW: spec.low_risk, Risk.MEDIUM: spec.medium_risk, Risk.HIGH: spec.high_risk}[risk]


def automatic(spec: ApprovalSpec, risk: Risk, digest: str, now: datetime) -> Approval | None:
    """Return the approval that the spec itself gives; None when it wants people."""
    if required(spec, risk) > 0:
        return None
    return Approval(
        digest=digest, actor=SystemActor.POLICY, at=now, channel=SystemActor.POLICY, note=f"{risk.value} risk"
    )


def valid_approvals(
    approvals: Iterable[Approval], digest: str, spec: ApprovalSpec, now: datetime
) -> tuple[Approval, ...]:
    """Return the approvals that are for this digest and have not lapsed."""
    return tuple(approval for approval in approvals if approval.valid(digest, spec, now))


def refusal(actor: str, approvals: Iterable[Approval], asked_by: Collection[str], issued_by: str = "") -> str:
    """Return why the approval of this account does not count; empty when it does.

    Accounts are compared without regard to case: no tool of ours tells `Ann` and `ann` apart as people.

    Args:
        approvals: valid approvals so far.
        asked_by: accounts that started the release or registered the version.
        issued_by: account that issued the token by which the actor is signed in; empty without a token.
    """
    if not is_person(actor):
        return f"{actor or 'nobody'} is no account of a person"
    if is_among(actor, asked_by):
        return f"{actor} asked for this release: somebody else must approve it"
    if issued_by and is_among(issued_by, asked_by):
        return f"{issued_by}, who issued the token of {actor}, asked for this release: somebody else must approve it"
    counted = tuple(approvals)
    if is_among(actor, (approval.actor for approval in counted)):
        return f"{actor} has approved it already: another person is needed"
    for approval in counted:
        if is_among(actor, approval.persons) or (issued_by and is_among(issued_by, approval.persons)):
            return (
                f"the tokens of {actor} and {approval.actor} count as one person's, since one account issued or "
                "holds both: another person approves in MLflow or Airflow"
            )
    return ""


def is_among(actor: str, accounts: Iterable[str]) -> bool:
    """Return whether the actor is one of these accounts."""
    return account_key(actor) in map(account_key, accounts)


def people(accounts: Iterable[str]) -> tuple[str, ...]:
    """Return each account of a person once, in order; a text may name several, separated by AND."""
    names = [name for text in accounts for name in text.split(AND)]
    return tuple({account_key(name): name.strip() for name in names if is_person(name)}.values())


def progress(approvals: Collection[Approval], needed: int, asked_by: Collection[str]) -> str:
    """Return the progress in words: `1 of 2: alice; still needs 1 more, not bob (who asked)`."""
    given = ", ".join(approval.actor for approval in approvals)
    counted = f"{len(approvals)} of {needed}" + f": {given}" * bool(given)
    left = needed - len(approvals)
    if left <= 0:
        return counted
    not_by = f", not {' or '.join(people(asked_by))} (who asked)" if people(asked_by) else ""
    return f"{counted}; still needs {left}{' more' * bool(approvals)}{not_by}"
