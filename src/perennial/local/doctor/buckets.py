"""Checks of object storage: does it answer, and is what lies there encrypted as PERENNIAL_S3_ENCRYPTION says?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from perennial.encryption.server_side import VARIABLE, upload_arguments
from perennial.errors import ToolError
from perennial.local.doctor.finding import Finding, State, attempt
from perennial.object_storage import S3, storage
from perennial.settings import Settings
from perennial.wiring.training import data_remote

EXCHANGE, DATA = "exchange", "data remote"
LOOKED_AT = 1000
"""Objects of a bucket of which the newest is looked at."""


def answers(settings: Settings) -> Iterator[Finding]:
    """List each place of ours in S3, with the key that this account has; the data remote has a check of its own."""
    for name, place in _places(settings).items():
        if name != DATA:
            listed = f"{place}/versions" if name == EXCHANGE else place  # all that a serving machine may list
            yield attempt(f"object storage: {name}", lambda listed=listed: _listed(listed))


def encryption_at_rest(settings: Settings) -> Iterator[Finding]:
    """Look at the newest object of each place of ours in S3; nothing where no encryption is asked for."""
    if settings.s3_encryption is None:
        return
    wanted = upload_arguments(settings.s3_encryption)
    for name, place in _places(settings).items():
        yield _looked_at(f"encryption: {name}", place, wanted)


def _places(settings: Settings) -> dict[str, str]:
    """Return name -> address of each place of ours in S3."""
    places = {
        "log": settings.log_bucket, "artifacts": settings.artifacts_url, EXCHANGE: settings.exchange,
        "work folders": settings.work_store, DATA: data_remote(settings),
    }  # fmt: skip
    return {name: place for name, place in places.items() if place is not None and place.startswith(S3)}


def _listed(place: str) -> str:
    with _opened(place) as (files, bucket, prefix):
        files.call_s3("list_objects_v2", Bucket=bucket, Prefix=f"{prefix}/", MaxKeys=1)
    return f"{place} answers"


@contextmanager
def _opened(place: str) -> Iterator[tuple[Any, str, str]]:
    """Yield the file system of S3, and the bucket and the prefix of a place; without the bucket it is a ToolError."""
    bucket, _, prefix = place.removeprefix(S3).partition("/")
    try:
        with storage(place) as files:
            yield files, bucket, prefix
    except FileNotFoundError as error:
        raise ToolError(f"{place}: {error}", hint="does the bucket exist?") from error


def _looked_at(check: str, place: str, wanted: dict[str, str]) -> Finding:
    heads: list[tuple[str, dict[str, Any]]] = []

    def look() -> str:
        with _opened(place) as (files, bucket, prefix):
            listed = files.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=LOOKED_AT)
            newest = max(listed.get("Contents", []), key=lambda entry: entry["LastModified"], default=None)
            if newest is None:
                return "nothing lies there yet"
            head = files.call_s3("head_object", Bucket=bucket, Key=newest["Key"])
            heads.append((f"{S3}{bucket}/{newest['Key']}", head))
        return f"the newest object is encrypted by {wanted['ServerSideEncryption']}"

    finding = attempt(check, look)
    for address, head in heads:
        algorithm, key_id = head.get("ServerSideEncryption"), str(head.get("SSEKMSKeyId", ""))
        if algorithm != wanted["ServerSideEncryption"] or not key_id.endswith(wanted.get("SSEKMSKeyId", "")):
            by = algorithm or "nothing"
            fix = f"default encryption of the bucket, or the rights of its key; {VARIABLE} is for new objects"
            return Finding(check, State.PROBLEM, f"{address} is encrypted by {by} {key_id}".rstrip(), fix)
    return finding
