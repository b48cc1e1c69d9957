"""Entries of the ledger: their kinds, the system's actors, and the base of the typed payload readers."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from perennial.core.frozen import Frozen
from perennial.errors import LedgerBroken

RELEASE_AREA = "release."


class Event(StrEnum):
    """Kind of a ledger entry, written as area.fact. A stored text never changes its meaning."""

    RELEASE_OPENED = "release.opened"
    RELEASE_GATED = "release.gated"
    RELEASE_AWAITING_APPROVAL = "release.awaiting_approval"
    RELEASE_APPROVED = "release.approved"
    RELEASE_APPROVAL_WITHDRAWN = "release.approval_withdrawn"
    RELEASE_APPROVAL_LAPSED = "release.approval_lapsed"
    RELEASE_SPEC_CHANGED = "release.spec_changed"
    RELEASE_INTENT_REFUSED = "release.intent_refused"
    RELEASE_LOADING = "release.loading"
    RELEASE_SHADOW = "release.shadow"
    RELEASE_CANARY = "release.canary"
    RELEASE_PAUSED = "release.paused"
    RELEASE_RESUMED = "release.resumed"
    RELEASE_PROMOTING = "release.promoting"
    RELEASE_SUCCEEDED = "release.succeeded"
    RELEASE_ABORTING = "release.aborting"
    RELEASE_ROLLED_BACK = "release.rolled_back"
    RELEASE_REJECTED = "release.rejected"
    RELEASE_SUPERSEDED = "release.superseded"
    RELEASE_OBSERVED = "release.observed"
    RELEASE_UNATTENDED = "release.unattended"
    """No process walked the release for a while; the failover watch does from then on."""
    EMERGENCY_ROLLBACK = "release.rollback"
    """A person moved all traffic back to an earlier champion."""
    SHARE_WITHDRAWN = "release.withdrawn"
    """A person took the candidate's share back; the champion stayed."""
    FAILOVER_BEGAN = "failover.began"
    FAILOVER_ENDED = "failover.ended"
    ROUTE_CHANGED_OUTSIDE = "route.changed_outside"
    """The router did something else than the record calls for; the failover watch repairs it."""
    MACHINE_LOST = "machine.lost"
    """The lease of a serving machine ended: changes of traffic no longer wait for it."""
    MACHINE_BACK = "machine.back"
    MONITOR_LEVEL = "monitor.level"
    RETRAIN_REQUESTED = "retrain.requested"
    RETRAIN_WITHHELD = "retrain.withheld"
    """An alarm started no training, since one would not help; with the reasons. It asks a person."""
    RETRAIN_EFFECT = "retrain.effect"
    """How much better a new champion answers than the one before it, on the same requests; once per release."""
    RECALIBRATED = "recalibration.registered"
    """A version with the weights of a trained one and a newer calibration was registered, for a release to judge."""
    RECALIBRATION_ENDED = "recalibration.ended"
    """A calibration was not proven better than the champion: nothing was made, and the attempt counts."""
    DATA_RETRACTED = "data.retracted"
    """A cycle or an import was taken out of a history again."""
    BATCH_SCORED = "batch.scored"
    """A version answered the rows of a file or query; with counts, and the digest of the rows."""
    VERSION_REPRODUCED = "version.reproduced"
    VERSION_RETIRED = "lifecycle.retired"
    VERSION_ARCHIVED = "lifecycle.archived"
    VERSION_PURGED = "lifecycle.purged"
    VERSION_LOST = "lifecycle.lost"
    """The registry no longer has a version that a release or a rollback names; the rest went on."""
    TOKEN_ISSUED = "token.issued"  # noqa: S105 a kind of entry, not a secret
    TOKEN_REVOKED = "token.revoked"  # noqa: S105
    FEEDBACK_SOURCE_ADDED = "feedback.source_added"
    FEEDBACK_UNUSABLE = "feedback.unusable"
    """Labels of predictions that were never answered or of other models, or broken lines: skipped and kept aside."""
    COMMENTS_FORGOTTEN = "feedback.comments_forgotten"
    """The comments in reviews that a source has sent until a time are deleted, now and where one arrives later."""
    FEEDBACK_SOURCE_REVOKED = "feedback.source_revoked"
    CLIENT_KEY_ADDED = "key.added"
    CLIENT_KEY_REVOKED = "key.revoked"
    ACCOUNT_CHANGED = "account.changed"
    """An account, a role or a permission of MLflow's user store was changed."""
    SIGNED_IN = "account.signed_in"
    """A person signed in at the OpenID Connect issuer; with account, role and subject. Sessions are named by it."""
    SIGNED_OUT = "account.signed_out"
    """All sessions of a person ended: by the person, an admin, or since the issuer gives no role any more."""
    SIGN_IN_REFUSED = "account.sign_in_refused"
    """Wrong passwords, or attempts during the delay after them; at most an entry a minute per account and server."""
    DAG_RUN_RELEASE = "dag_run.release"
    """The release that a run of the release DAG is about; its tasks ask here, never in an XCom."""
    DAG_RUN_CHANGED = "dag_run.changed"
    """An account started, cleared or edited runs or tasks of a DAG, or paused or deleted it; at most an entry a
    minute, account and DAG."""
    DAG_RUN_REQUEST = "dag_run.request"
    """A run answers a request for a retraining. The first entry of a request's key names the only run that does."""
    AIRFLOW_CHANGED = "airflow.changed"
    """An account wrote assets, pools, variables or connections of Airflow; at most an entry a minute, account and
    kind of thing."""
    ALERT_FIRING = "alert.firing"
    """A message of Alertmanager about alerts that fire. The system decides nothing by it."""
    ALERT_RESOLVED = "alert.resolved"
    NOTICE_UNDELIVERED = "notify.undelivered"


class SystemActor(StrEnum):
    """Part of the system that acts under its own name in the ledger. No person may use such a name."""

    ACCOUNTS = "accounts"
    """Brings MLflow's accounts in line with the accounts file, and revokes tokens of accounts that were changed."""
    AIRFLOW = "airflow"
    ALERTMANAGER = "alertmanager"
    FAILOVER_WATCH = "guard"
    GATE = "gate"
    MACHINE = "machine"
    """The release machine."""
    MLFLOW = "mlflow"
    MONITOR = "monitor"
    NOTIFIER = "notifier"
    POLICY = "policy"
    """Approves what a model's spec lets pass without a person."""
    RELEASE = "release"
    SCHEDULE = "schedule"
    TRAINING = "training"


def account_key(name: str) -> str:
    """Return the name by which accounts are compared: `Ann` and `ann` are the same person."""
    return name.strip().casefold()


def is_person(actor: str) -> bool:
    """Return whether the actor can be a person: not empty, and no part of the system."""
    key = account_key(actor)
    return bool(key) and key not in set(SystemActor)


class Entry(Frozen):
    """One fact. `payload` holds plain JSON values only."""

    at: AwareDatetime
    actor: str = Field(description="a person's account, or a SystemActor")
    kind: str = Field(description="what happened: an Event; other texts are kept as they are")
    model: str
    release_id: str | None = None
    digest: str | None = Field(None, description="SHA-256 of the model file that the entry is about")
    payload: dict[str, Any] = Field(default_factory=dict)

    @property
    def fact(self) -> str:
        """The kind without the area `release.`; kinds of other areas are complete."""
        return self.kind.removeprefix(RELEASE_AREA)


class LedgerRow(Frozen):
    """An entry in its place of the chain."""

    seq: int = Field(ge=1)
    entry: Entry
    previous: str
    hash: str


class Payload(BaseModel):
    """Base of the typed readers of payloads. Keys that a reader does not name are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """Return the entry's payload with checked types.

        Raises:
            LedgerBroken: a key is missing or has another type.
        """
        try:
            return cls.model_validate(entry.payload)
        except ValidationError as error:
            problem = error.errors()[0]
            key = ".".join(map(str, problem["loc"]))
            raise LedgerBroken(
                f"the payload of {entry.kind} of {entry.model} at {entry.at.isoformat()}: {key}: {problem['msg']}",
                hint="perennial ledger verify",
            ) from error
