"""The signed list of a version's files, and the check of a folder against it.

The list is an in-toto Statement v1 in a DSSE envelope: name, SHA-256 and size of each file, the model and its
capsule, signed with Ed25519 by the side that registers. The SHA-256 of the statement is the version's digest, so a
digest stands for exactly one set of files.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from perennial.core.frozen import canonical
from perennial.errors import NotSigned, SettingsError
from perennial.files import read_plain

if TYPE_CHECKING:
    from perennial.ports import Signer

SIGNED_FILES = "signed_files.json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
PREDICATE_TYPE = "urn:perennial:served-files:v1"
MAX_ENVELOPE = 1 << 20
"""Bytes of the envelope that are read at most."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Hash(_Part):
    sha256: Sha256


class Subject(_Part):
    """A file: its plain name and its SHA-256."""

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$")
    digest: _Hash


class Predicate(_Part):
    """The version that the files make up."""

    model: str
    capsule: str
    sizes: dict[str, int] = Field(description="file -> bytes")


class Statement(_Part):
    """An in-toto Statement v1 about the files of a version."""

    kind: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: tuple[Subject, ...] = Field(min_length=1)
    predicate_type: Literal["urn:perennial:served-files:v1"] = Field(alias="predicateType")
    predicate: Predicate

    @property
    def files(self) -> dict[str, str]:
        """Return file -> SHA-256 (hex)."""
        return {subject.name: subject.digest.sha256 for subject in self.subject}


class _Signature(_Part):
    keyid: str
    sig: str


class _Envelope(_Part):
    payload_type: Literal["application/vnd.in-toto+json"] = Field(alias="payloadType")
    payload: str
    signatures: tuple[_Signature, ...] = Field(min_length=1, max_length=8)


@dataclass(frozen=True)
class TrustedKeys:
    """Public keys (`*.pub`, base64 of the 32 bytes) in a folder; read at each check, so a change needs no restart."""

    folder: Path

    def keys(self) -> dict[str, str]:
        """Return key id -> public key in base64.

        Raises:
            SettingsError: the folder or a file in it cannot be read.
        """
        try:
            keys = [path.read_text(encoding="ascii").strip() for path in sorted(self.folder.glob("*.pub"))]
            return {key_id(key): key for key in keys}
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"the trusted keys in {self.folder} cannot be read: {error}",
                hint="PERENNIAL_TRUSTED_KEYS is a folder of *.pub files",
            ) from error


NOBODY = TrustedKeys(Path("/nonexistent"))
"""Trusts no key."""


def key_id(public: str) -> str:
    """Return the SHA-256 (hex) of a public key given in base64."""
    return hashlib.sha256(base64.b64decode(public, validate=True)).hexdigest()


def sign_files(folder: Path, model: str, capsule: str, signer: Signer) -> str:
    """Write the signed list of all files of a folder beside them; returns the digest of the version.

    The same files give the same digest: the statement holds no time.
    """
    contents = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != SIGNED_FILES}
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": name, "digest": {"sha256": hashlib.sha256(contents[name]).hexdigest()}}
            for name in sorted(contents)
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "model": model,
            "capsule": capsule,
            "sizes": {name: len(content) for name, content in contents.items()},
        },
    }
    payload = canonical(statement).encode()
    envelope = {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [
            {
                "keyid": key_id(signer.public),
                "sig": base64.b64encode(signer.sign(_authenticated(payload))).decode(),
            }
        ],
    }
    (folder / SIGNED_FILES).write_text(json.dumps(envelope, indent=2) + "\n", encoding="ascii")
    return hashlib.sha256(payload).hexdigest()


def read_signed(
    folder: Path,
    model: str,
    digest: str,
    trusted: TrustedKeys,
    ignored: Collection[str] = (),
    only: Collection[str] | None = None,
) -> dict[str, bytes]:
    """Return the contents of the files of a version and of its signed list, exactly as they were checked.

    Args:
        digest: of the version, as the registry or the route names it.
        ignored: names of files that may lie beside the signed ones.
        only: names of the files to read, where the others are not needed yet; None: all.

    Raises:
        NotSigned: the list is missing, is of another version, or no trusted key signed it; or a file is missing,
            changed, or not on the list.
        SettingsError: the trusted keys cannot be read.
    """
    raw, envelope, payload = _read_envelope(folder, model)
    if (actual := hashlib.sha256(payload).hexdigest()) != digest:
        raise _refused(model, folder, f"{SIGNED_FILES} has digest {actual}, expected is {digest}")
    _check_signature(folder, model, envelope, payload, trusted)
    statement = _statement(folder, model, payload)
    return {**_contents(folder, model, statement, ignored, only), SIGNED_FILES: raw}


def read_listed(folder: Path, model: str, ignored: Collection[str] = ()) -> tuple[str, dict[str, bytes]]:
    """Return the digest of the list in a folder, and the files, checked against the list alone.

    For a folder that an earlier step of the same training wrote: who signed is not asked.

    Args:
        ignored: names of files that may lie beside the listed ones.

    Raises:
        NotSigned: as `read_signed`.
    """
    raw, _, payload = _read_envelope(folder, model)
    contents = _contents(folder, model, _statement(folder, model, payload), ignored, None)
    return hashlib.sha256(payload).hexdigest(), {**contents, SIGNED_FILES: raw}


def write_contents(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files that were read with `read_signed` into a folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def _read_envelope(folder: Path, model: str) -> tuple[bytes, _Envelope, bytes]:
    path = folder / SIGNED_FILES
    try:
        raw, size = read_plain(path, MAX_ENVELOPE)
        if size > MAX_ENVELOPE:
            raise ValueError("no plain file of a plausible size")
        envelope = _Envelope.model_validate_json(raw)
        return raw, envelope, base64.b64decode(envelope.payload, validate=True)
    except FileNotFoundError as error:
        raise _refused(model, folder, f"{path} is missing: the files are not signed") from error
    except (OSError, ValueError) as error:
        raise _refused(model, folder, f"{path} cannot be read: {_first_line(error)}") from error


def _check_signature(
    folder: Path, model: str, envelope: _Envelope, payload: bytes, trusted: TrustedKeys
) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    keys = trusted.keys()
    for signature in envelope.signatures:
        if signature.keyid not in keys:
            continue
        try:
            key = Ed25519PublicKey.from_public_bytes(base64.b64decode(keys[signature.keyid], validate=True))
            key.verify(base64.b64decode(signature.sig, validate=True), _authenticated(payload))
        except (InvalidSignature, ValueError):
            continue
        return
    names = ", ".join(signature.keyid[:12] for signature in envelope.signatures)
    raise _refused(
        model,
        folder,
        f"no trusted key signed {SIGNED_FILES} (signed by {names}; {trusted.folder} has {len(keys)})",
    )


def _statement(folder: Path, model: str, payload: bytes) -> Statement:
    try:
        statement = Statement.model_validate_json(payload)
    except ValidationError as error:
        raise _refused(
            model, folder, f"{SIGNED_FILES} holds no list of files: {_first_line(error)}"
        ) from error
    if statement.predicate.model != model:
        raise _refused(model, folder, f"{SIGNED_FILES} is of the model {statement.predicate.model}")
    if set(statement.files) != set(statement.predicate.sizes) or len(statement.files) != len(
        statement.subject
    ):
        raise _refused(model, folder, f"{SIGNED_FILES} names a file twice, or without its size")
    return statement


def _contents(
    folder: Path, model: str, statement: Statement, ignored: Collection[str], only: Collection[str] | None
) -> dict[str, bytes]:
    wanted = statement.files
    present = {path.name for path in folder.iterdir()} - {SIGNED_FILES} - set(ignored)
    if strangers := sorted(present - set(wanted)):
        raise _refused(model, folder, f"{', '.join(strangers)}: not on the signed list")
    if missing := sorted(set(wanted) - present):
        raise _refused(model, folder, f"{', '.join(missing)}: on the signed list, and missing")
    contents = {}
    for name in wanted if only is None else wanted.keys() & set(only):
        expected = wanted[name]
        size = statement.predicate.sizes[name]
        try:
            contents[name], there = read_plain(folder / name, size + 1)
        except OSError as error:
            raise _refused(model, folder, f"{name} cannot be read: {error.strerror}") from error
        actual = hashlib.sha256(contents[name]).hexdigest()
        if actual != expected:
            more = "" if len(contents[name]) == size == there else f" and {there} bytes"
            raise _refused(
                model,
                folder,
                f"{name} has digest {actual}{more}, signed is {expected} with {size} bytes",
            )
    return contents


def _authenticated(payload: bytes) -> bytes:
    """Return the bytes that a DSSE signature covers (its pre-authentication encoding)."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _first_line(error: Exception) -> str:
    return "; ".join(str(error).splitlines()[:2])


def _refused(model: str, folder: Path, reason: str) -> NotSigned:
    return NotSigned(
        f"{model}: {reason} (in {folder})",
        hint="somebody changed or truncated the files: restore them from a backup, or train again",
    )
