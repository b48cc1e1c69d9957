"""Recalibrations: PATCH versions with the weights of a trained version and a calibration fitted to newer labels.

Each attempt about a champion looks at labels once more. So the k-th is judged at the error 0.05 / (k (k + 1)): over
any number of attempts, a calibration that brings nothing is made with a chance of at most 5 %.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pydantic import AwareDatetime, Field

from perennial.core.events import Entry, Event, LedgerRow, Payload
from perennial.core.frozen import Frozen
from perennial.core.monitoring.worth.effect import FEWEST_CHANGES, PairedDifference
from perennial.core.recalibration.calibration import Calibration
from perennial.core.training.imported import FILE_TAG, TRAINED_TAG
from perennial.core.training.registration import CHAMPION_DIGEST, REQUESTED_BY, VersionRecord
from perennial.core.training.variants import KEPT_TAGS, VARIANT_OF

RECALIBRATION_OF, RECALIBRATION_TRAINED = "recalibration.of", "recalibration.trained"
"""Version tags: digest of the version whose answers it maps, and of the training that this one comes from."""
INHERITED_TAGS = (
    *KEPT_TAGS,
    "model.input",
    "model.output",
    "model.parameters",
    "framework",
    FILE_TAG,
    TRAINED_TAG,
)
"""Tags of the trained version that hold for it too; what a variant was made of is said by that version alone."""
ERROR = 0.05
JUDGED = (Event.RELEASE_REJECTED, Event.RELEASE_ROLLED_BACK, Event.RELEASE_SUCCEEDED)
"""Events that end the release of a recalibration. A success beside a version that is champion again was taken back:
the entry of an emergency rollback has the digest of the version that came back."""


class Recalibration(Frozen):
    """An attempt to recalibrate a champion, and what it proved."""

    at: AwareDatetime
    model: str
    champion: str = Field(description="version with the traffic")
    champion_digest: str
    of: str = Field(
        description="version whose weights are kept: the champion, or the version it was recalibrated from"
    )
    of_digest: str
    attempt: int = Field(ge=1, description="number of attempts about this champion, this one included")
    learnt: int = Field(ge=0, description="labelled answers that the calibration was fitted to")
    judged: int = Field(ge=0, description="later labelled answers that judged it")
    calibration: Calibration
    largest_seen: float = Field(
        ge=0, description="largest change of an answer from the trained one, on those rows"
    )
    gain: PairedDifference | None = Field(description="in loss, over the champion; None: too few requests")
    proven: bool = Field(description="the interval excludes that nothing was gained")
    version: str | None = Field(None, description="registered version; None: it ended, or was a dry run")
    digest: str | None = None

    @property
    def confidence(self) -> float:
        """Chance with which the interval of this attempt holds the gain."""
        return confidence(self.attempt)

    @property
    def in_words(self) -> str:
        """The gain in a sentence."""
        if self.gain is None:
            return f"nothing is proven: {self.judged} labelled answers make too few requests"
        how = "proven better" if self.proven else "not proven better"
        return (
            f"{how} than {self.champion}: loss {self.gain.old:.4f} -> {self.gain.new:.4f}, gain {self.gain} "
            f"({self.confidence:.1%} interval) on {self.judged} later answers"
        )


class RecalibrationFact(Payload):
    """Payload of RECALIBRATED and RECALIBRATION_ENDED."""

    champion_digest: str
    of_digest: str


def trained_digest(record: VersionRecord) -> str:
    """Return the digest of the version that a training made: that which a variant or a recalibration comes from."""
    return record.tags.get(RECALIBRATION_TRAINED, record.tags.get(VARIANT_OF, record.ref.digest))


def recalibration_tags(
    weights: VersionRecord, champion: str, figures: str, spec: str, result: Recalibration, actor: str
) -> dict[str, str]:
    """Return the tags of a recalibrated version, but for its size.

    Args:
        weights: version whose answers it maps. champion: digest that it was compared with.
        figures: hash of its figures. spec: digest of the spec today.
        actor: account that asked for it, which may not approve its release.
    """
    return {
        **{name: weights.tags[name] for name in INHERITED_TAGS if name in weights.tags},
        CHAMPION_DIGEST: champion,
        "figures_hash": figures,
        "reason": "recalibrated",
        "reason.text": f"{weights.ref.version}, {result.learnt} labels: {result.calibration}",
        "spec": spec,
        RECALIBRATION_OF: weights.ref.digest,
        RECALIBRATION_TRAINED: trained_digest(weights),
        REQUESTED_BY: actor,
    }


def is_recalibrated(tags: Mapping[str, str]) -> bool:
    """Return whether the version with these tags is a recalibration of another."""
    return RECALIBRATION_OF in tags


def confidence(attempt: int) -> float:
    """Return the confidence at which an attempt is judged."""
    return 1 - ERROR / (attempt * (attempt + 1))


def is_proven(gain: PairedDifference | None) -> bool:
    """Return whether a gain is proven."""
    return gain is not None and gain.changes >= FEWEST_CHANGES and gain.low > 0


def attempts(rows: Sequence[LedgerRow], champion: str) -> int:
    """Return how many attempts about a champion ended: in the back-test, at the gate, or by a release.

    Args:
        champion: its digest.
    """
    kinds = (Event.RECALIBRATION_ENDED, Event.RECALIBRATED)
    ended, made = 0, set()
    for entry in (row.entry for row in rows):
        if entry.kind in kinds and RecalibrationFact.read(entry).champion_digest == champion:
            if entry.kind == Event.RECALIBRATION_ENDED:
                ended += 1
            else:
                made.add(entry.digest)
    return ended + len(made & judged(rows))


def judged(rows: Iterable[LedgerRow]) -> set[str | None]:
    """Return the digests of versions whose release was rejected, rolled back or succeeded."""
    return {row.entry.digest for row in rows if row.entry.kind in JUDGED}


def unreleased(
    versions: Iterable[VersionRecord], rows: Sequence[LedgerRow], champion: str
) -> VersionRecord | None:
    """Return the newest recalibration beside this champion that may still be released; None without one.

    Args:
        versions: that nobody took out of use.
    """
    gone = judged(rows)
    waiting = [
        version
        for version in versions
        if is_recalibrated(version.tags)
        and version.tags.get(CHAMPION_DIGEST) == champion
        and version.ref.digest not in gone
    ]
    return max(waiting, key=lambda version: int(version.ref.key), default=None)


def weights_of(rows: Iterable[LedgerRow], digest: str) -> str:
    """Return the digest of the version whose weights a version has: its own, unless it is a recalibration."""
    made = {row.entry.digest: row.entry for row in rows if row.entry.kind == Event.RECALIBRATED}
    return RecalibrationFact.read(made[digest]).of_digest if digest in made else digest


def recalibration_entry(result: Recalibration, actor: str) -> Entry:
    """Return the ledger entry of an attempt that registered a version, or ended."""
    registered = result.digest is not None
    return Entry(
        at=result.at,
        actor=actor,
        kind=Event.RECALIBRATED if registered else Event.RECALIBRATION_ENDED,
        model=result.model,
        digest=result.digest if registered else result.champion_digest,
        payload={"why": result.in_words, **result.model_dump(mode="json", exclude={"at", "model", "digest"})},
    )
