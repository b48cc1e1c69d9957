"""Every error that Perennial raises on purpose.

    PerennialError
      x UsageError             2   the command line is wrong
      + SpecError             10   a model spec or another YAML file is wrong
      x SettingsError         11   an environment variable is wrong
      + DataError             20
        x DatasetMissing      21   neither the mirror nor the public address has it
        x ChecksumMismatch    22   the bytes are not the ones the catalogue names
        x MalformedInput      23   a file cannot be read as what it claims to be
        x ValidationFailed    24   a data check failed; the batch is kept aside
      + ModelError            30
        x UnknownModel        31   no spec of that name
        x UnknownVersion      32   the registry has no such version
        x UnknownEntity       33   no features are known for that entity
        x ModelFileError      34   a model file is unreadable or not the one its digest names
        x ParityError         35   the exported model answers otherwise than the trained one
        x ShapeError          36   a tensor has the wrong name, type or shape
        x TrainingFailed      37   a training ended without a model
        x NotReproduced       38   training again from the capsule gave another model
        x OtherCode           39   a version cannot be trained again here as it was
        x IncompleteExplanation 40 attributions do not add up to the score
      + ToolError             50   a tool we stand on did not do its part
        x TrackerUnavailable  51   MLflow
        x RouterUnavailable   52   Envoy does not answer
        x RouterRejected      53   Envoy refused a configuration
        x SchedulerUnavailable 54  Airflow
        x PoolUnavailable     55   a model-server pool
        x StoreUnavailable    56   the SQL database
        x FeaturesUnavailable 57   Feast
        x PortTaken           58   something else listens where a process wants to
        x TrackerRefused      59   MLflow does not know the account, or does not let it
        x NotDelivered        71   a channel that people are notified through
      + ReleaseError          60
        x ReleaseConflict     61   somebody else moved the release; read again
        x ApprovalRefused     62   not the digest that was gated, or not allowed
        x UnknownRelease      63   no such release
        x GateFailed          64   a rule of the gate failed
        x RollbackRefused     65   a check of the version to go back to failed; nothing has changed
        x SelfApproval        66   who asked for a release may not approve it
        x OutOfUse            67   the version was retired or archived by a person
        x RouteMoved          68   somebody else moved the traffic; look again
      x LedgerBroken          70   the hash chain of the ledger does not hold
      + IdentityError         80
        x NotSignedIn         81   nobody known: no token, or one that is wrong, expired or revoked
        x NotAllowed          82   the account's role does not allow it

The number is the exit code of the command line.
"""

from __future__ import annotations


class PerennialError(Exception):
    """What is wrong, with which input, and what to do about it."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self):
        return (_rebuild, (type(self), self.message, self.hint))


def _rebuild(kind: type[PerennialError], message: str, hint: str) -> PerennialError:
    return kind(message, hint=hint)


class UsageError(PerennialError):
    exit_code = 2


class SpecError(PerennialError):
    exit_code = 10


class SettingsError(PerennialError):
    exit_code = 11


class DataError(PerennialError):
    exit_code = 20


class DatasetMissing(DataError):
    exit_code = 21


class ChecksumMismatch(DataError):
    exit_code = 22


class MalformedInput(DataError):
    exit_code = 23


class ValidationFailed(DataError):
    exit_code = 24


class ModelError(PerennialError):
    exit_code = 30


class UnknownModel(ModelError):
    exit_code = 31


class UnknownVersion(ModelError):
    exit_code = 32


class UnknownEntity(ModelError):
    exit_code = 33


class ModelFileError(ModelError):
    exit_code = 34


class ParityError(ModelError):
    exit_code = 35


class ShapeError(ModelError):
    exit_code = 36


class TrainingFailed(ModelError):
    exit_code = 37


class NotReproduced(ModelError):
    exit_code = 38


class OtherCode(ModelError):
    exit_code = 39


class IncompleteExplanation(ModelError):
    exit_code = 40


class ToolError(PerennialError):
    exit_code = 50


class TrackerUnavailable(ToolError):
    exit_code = 51


class RouterUnavailable(ToolError):
    exit_code = 52


class RouterRejected(ToolError):
    exit_code = 53


class SchedulerUnavailable(ToolError):
    exit_code = 54


class PoolUnavailable(ToolError):
    exit_code = 55


class StoreUnavailable(ToolError):
    exit_code = 56


class FeaturesUnavailable(ToolError):
    exit_code = 57


class PortTaken(ToolError):
    exit_code = 58


class TrackerRefused(ToolError):
    exit_code = 59


class NotDelivered(ToolError):
    exit_code = 71


class ReleaseError(PerennialError):
    exit_code = 60


class ReleaseConflict(ReleaseError):
    exit_code = 61


class ApprovalRefused(ReleaseError):
    exit_code = 62


class UnknownRelease(ReleaseError):
    exit_code = 63


class GateFailed(ReleaseError):
    exit_code = 64


class RollbackRefused(ReleaseError):
    exit_code = 65


class SelfApproval(ReleaseError):
    exit_code = 66


class OutOfUse(ReleaseError):
    exit_code = 67


class RouteMoved(ReleaseError):
    exit_code = 68


class LedgerBroken(PerennialError):
    exit_code = 70


class IdentityError(PerennialError):
    exit_code = 80


class NotSignedIn(IdentityError):
    exit_code = 81


class NotAllowed(IdentityError):
    exit_code = 82
