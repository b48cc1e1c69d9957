"""Errors that Perennial raises on purpose, with exit codes and HTTP statuses; those of secrets: `secret_errors`."""

from __future__ import annotations

from typing import ClassVar


class PerennialError(Exception):
    """An error that Perennial expects: the message names the input, the hint says what to do."""

    exit_code: ClassVar[int] = 1
    """Exit code of the command line."""
    http_status: ClassVar[int] = 500
    """Status of a model server's response."""

    def __init_subclass__(cls, *, exit_code: int, http_status: int = 500) -> None:
        cls.exit_code, cls.http_status = exit_code, http_status

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.hint))


def _rebuild(kind: type[PerennialError], message: str, hint: str) -> PerennialError:
    return kind(message, hint=hint)


class UsageError(PerennialError, exit_code=2):
    """The command line is wrong."""


class SpecError(PerennialError, exit_code=10):
    """A model spec or another YAML file is wrong."""


class SettingsError(PerennialError, exit_code=11):
    """An environment variable is wrong."""


class PackageMissing(PerennialError, exit_code=12):
    """A package of an extra is not installed."""


class FileRefused(PerennialError, exit_code=13):
    """The operating system refuses a file or folder: rights, a full disk, a disk that only reads."""


class DataError(PerennialError, exit_code=20):
    """Data cannot be used."""


class DatasetMissing(DataError, exit_code=21):
    """Neither the mirror nor the public address has the data set."""


class ChecksumMismatch(DataError, exit_code=22):
    """A file differs from the checksum that is recorded for it."""


class MalformedInput(DataError, exit_code=23, http_status=400):
    """An input cannot be read as what it claims to be."""


class BodyTooLarge(MalformedInput, exit_code=25, http_status=413):
    """The body of a request is larger than the limit."""


class ValidationFailed(DataError, exit_code=24):
    """A data check failed; the batch is quarantined."""


class WrongTarget(DataError, exit_code=26):
    """A target or label is not one of the values that the kind of task allows."""


class WrongAnswer(DataError, exit_code=27):
    """A model's answers have another shape or range than the kind of task allows."""


class RowsRejected(DataError, exit_code=28):
    """Rows of a batch were refused; the others are scored."""


class ModelError(PerennialError, exit_code=30):
    """A model or version cannot be used."""


class UnknownModel(ModelError, exit_code=31, http_status=404):
    """There is no spec of that name."""


class UnknownVersion(ModelError, exit_code=32, http_status=404):
    """The registry has no such version."""


class UnknownEntity(ModelError, exit_code=33, http_status=404):
    """No features are known for that entity."""


class ModelFileError(ModelError, exit_code=34):
    """A model file is unreadable, or its digest is another."""


class ParityError(ModelError, exit_code=35):
    """The exported model answers otherwise than the trained model."""


class ShapeError(ModelError, exit_code=36, http_status=400):
    """A tensor has a wrong name, type or shape."""


class TrainingFailed(ModelError, exit_code=37):
    """A training ended without a model."""


class NotReproduced(ModelError, exit_code=38):
    """Training again from the capsule gave another model."""


class OtherCode(ModelError, exit_code=39):
    """The version cannot be trained again here as it was trained."""


class NotReproducible(ModelError, exit_code=45):
    """The version was imported, or is a variant: no training here has made it."""


class NotOptimisable(ModelError, exit_code=46):
    """No variant is made of this version."""


class NotRecalibrable(ModelError, exit_code=48):
    """No calibration is fitted: the spec has it off, the kind of task has none, or there are too few labels."""


class WorkerLost(ModelError, exit_code=47):
    """A process of a training died again and again."""


class IncompleteExplanation(ModelError, exit_code=40, http_status=422):
    """Attributions do not add up to the score."""


class NotLoaded(UnknownVersion, exit_code=41, http_status=503):
    """This model server has not loaded the requested version; the router tries another server."""


class ExplanationNotReady(ModelError, exit_code=42, http_status=429):
    """The explanation was not ready in time; the router must not try another server."""


class VersionFailed(ModelError, exit_code=43):
    """A version cannot score rows that are in range; its fault, not the request's."""


class NotSigned(ModelFileError, exit_code=44):
    """The files of a version are not those that a trusted key signed."""


class ToolError(PerennialError, exit_code=50):
    """A tool that Perennial uses failed."""


class TrackerUnavailable(ToolError, exit_code=51):
    """MLflow does not answer."""


class RouterUnavailable(ToolError, exit_code=52):
    """Envoy does not answer."""


class RouterRejected(ToolError, exit_code=53):
    """Envoy refused a configuration."""


class SchedulerUnavailable(ToolError, exit_code=54):
    """Airflow does not answer."""


class PoolUnavailable(ToolError, exit_code=55):
    """A pool of model servers does not answer."""


class StoreUnavailable(ToolError, exit_code=56):
    """The SQL database does not answer."""


class SchemaMismatch(StoreUnavailable, exit_code=72):
    """The SQL database has an older or newer schema than this code."""


class FeaturesUnavailable(ToolError, exit_code=57, http_status=503):
    """Feast does not answer."""


class PortTaken(ToolError, exit_code=58):
    """Another process listens on the port."""


class TrackerRefused(ToolError, exit_code=59):
    """MLflow does not know the account, or denies it the action."""


class ReleaseError(PerennialError, exit_code=60):
    """A release cannot do this."""


class ReleaseConflict(ReleaseError, exit_code=61):
    """Another process changed the release in the meantime."""


class ApprovalRefused(ReleaseError, exit_code=62):
    """The approval names another digest, or the account may not approve."""


class UnknownRelease(ReleaseError, exit_code=63):
    """There is no such release."""


class GateFailed(ReleaseError, exit_code=64):
    """A rule of the gate failed."""


class RollbackRefused(ReleaseError, exit_code=65):
    """A check of the version to go back to failed; nothing has changed."""


class SelfApproval(ReleaseError, exit_code=66):
    """An approval by the person who asked for the release."""


class OutOfUse(ReleaseError, exit_code=67):
    """A person retired or archived the version."""


class RouteMoved(ReleaseError, exit_code=68):
    """Another process moved the traffic in the meantime."""


class OwnedByReleases(ReleaseError, exit_code=69, http_status=409):
    """A call may not load or unload a version: releases decide what a server holds."""


class LedgerBroken(PerennialError, exit_code=70):
    """The ledger's hash chain does not hold, or an entry cannot be read."""


class NotDelivered(ToolError, exit_code=71):
    """A notification channel did not take the message."""


class ChecksFailed(PerennialError, exit_code=73):
    """`perennial doctor` found a problem."""


class BackupBroken(PerennialError, exit_code=74):
    """A backup is unfinished or damaged."""


class BackupRunning(PerennialError, exit_code=75):
    """A backup is running, or a deletion of files that it would miss."""


class GeneratedFilesDiffer(PerennialError, exit_code=76):
    """Generated files are not what the model specs make now."""


class IdentityError(PerennialError, exit_code=80):
    """The account may not do this."""


class NotSignedIn(IdentityError, exit_code=81, http_status=401):
    """There is no token, or it is wrong, expired or revoked."""


class NotAllowed(IdentityError, exit_code=82, http_status=403):
    """The account's role does not allow the action."""


class OtherTenant(IdentityError, exit_code=83, http_status=403):
    """The state folder or the database belongs to another tenant."""


class IssuerUnavailable(ToolError, exit_code=84, http_status=503):
    """The OpenID Connect issuer does not answer as one."""
