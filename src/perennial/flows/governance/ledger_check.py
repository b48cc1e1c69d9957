"""Take the head of the ledger, and compare the ledger with a head that was kept elsewhere."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from datetime import datetime

from pydantic import Field

from perennial.core.frozen import Frozen
from perennial.core.governance.ledger import (
    COMPARE,
    GENESIS,
    Head,
    StoredRow,
    compare,
    compare_end,
    verify_stored,
)
from perennial.errors import LedgerBroken
from perennial.ports import Ledger, Signer

Holds = Callable[[str, bytes, bytes], bool]
"""public key, message, signature -> whether the key's owner signed the message."""


class KeptHead(Frozen):
    """A head as it is kept elsewhere, signed or not."""

    head: Head
    key: str | None = Field(None, description="the signer's public key, base64")
    signature: str | None = Field(None, description="Ed25519 over head.message, base64")


class Checked(Frozen):
    """Result of a successful check of the chain."""

    entries: int
    newest: str = Field(description="hash of the last entry")
    against: Head | None = Field(None, description="the head that it was compared with")
    signed_by: str | None = Field(None, description="public key of that head's valid signature")


def take_head(ledger: Ledger, signer: Signer | None, now: datetime) -> KeptHead:
    """Return the head of a ledger after checking its chain: a head of a broken chain would vouch for it.

    Raises:
        LedgerBroken: the chain breaks.
    """
    checked = check(ledger, None, None, lambda *_: False)
    head = Head(seq=checked.entries, hash=checked.newest, at=now)
    if signer is None:
        return KeptHead(head=head)
    signature = base64.b64encode(signer.sign(head.message)).decode()
    return KeptHead(head=head, key=signer.public, signature=signature)


def check(ledger: Ledger, kept: KeptHead | None, trusted: str | None, holds: Holds) -> Checked:
    """Verify the ledger of the store and its stored head.

    Raises:
        LedgerBroken: an entry was edited, removed or moved, the end was truncated, the stored head was set back or
            is lost, or `kept` differs.
    """
    end, rows = ledger.snapshot()
    return check_rows(rows, kept, trusted, holds, end)


def check_rows(
    rows: Iterable[StoredRow],
    kept: KeptHead | None,
    trusted: str | None,
    holds: Holds,
    end: tuple[int, str] | None = None,
) -> Checked:
    """Verify rows from any source, for example an export.

    Args:
        kept: a head that was kept elsewhere.
        trusted: the public key that must have signed `kept`; None accepts it unsigned.
        end: sequence number and hash of the stored head, read together with the rows.

    Raises:
        LedgerBroken: see `check`.
    """
    signed_by = _signed_by(kept, trusted, holds) if kept else None
    everything = list(rows)
    broken = verify_stored(everything)
    if broken is not None:
        raise LedgerBroken(f"the chain breaks at entry {broken} of {len(everything)}", hint=COMPARE)
    newest = everything[-1].hash if everything else GENESIS
    wrong = compare_end(len(everything), newest, end) if end else None
    if wrong is None and kept:
        wrong = compare([row.hash for row in everything], kept.head)
    if wrong:
        raise LedgerBroken(wrong, hint=COMPARE)
    return Checked(
        entries=len(everything), newest=newest, against=kept.head if kept else None, signed_by=signed_by
    )


def _signed_by(kept: KeptHead, trusted: str | None, holds: Holds) -> str | None:
    """Check the signature of a head; return the signer's public key, or None if no signature is required."""
    if trusted is None:
        return None
    if kept.key is None or kept.signature is None:
        raise LedgerBroken("the head is not signed", hint="use the signed head, or omit the key")
    if kept.key != trusted:
        raise LedgerBroken(
            f"the head is signed by {kept.key}, not by {trusted}", hint="is it the right file?"
        )
    try:
        signature = base64.b64decode(kept.signature, validate=True)
    except binascii.Error as error:
        raise LedgerBroken("the signature of the head is no base64", hint="take another copy") from error
    if not holds(trusted, kept.head.message, signature):
        raise LedgerBroken("the signature does not fit the head: it was changed", hint="take another copy")
    return trusted
