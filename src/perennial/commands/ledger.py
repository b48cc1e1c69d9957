"""Command `ledger`: read, verify, export and sign the record of who did what."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from perennial import settings as environment
from perennial.commands.output import JSON, now, print_json, print_record, print_text
from perennial.errors import LedgerBroken, MalformedInput
from perennial.settings import Settings

if TYPE_CHECKING:
    from perennial.core.events import LedgerRow
    from perennial.flows.governance.ledger_check import KeptHead

T = TypeVar("T")
FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def ledger() -> None:
    """Read and verify the record of who did what to which digest."""


@ledger.command()
@click.argument("model", required=False)
@click.option("--last", type=click.IntRange(min=1), help="Show only the newest N entries.")
@JSON
def show(model: str | None, last: int | None, as_json: bool) -> None:
    """List the entries of MODEL or of all models, oldest first."""
    from perennial.wiring import database

    rows = database.store(environment.load()).ledger.rows(model, newest=last)
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
        return
    for row in rows:
        print_text(line(row))


def line(row: LedgerRow) -> str:
    """Return an entry as a line. Lists, such as the evidence, are only in the JSON output."""
    entry = row.entry
    values = " ".join(
        f"{key}={value}"
        for key, value in entry.payload.items()
        if isinstance(value, str | int | float) and value != ""
    )
    at, digest = entry.at.strftime("%Y-%m-%d %H:%M:%S"), (entry.digest or "-")[:12]
    return f"{row.seq:>5} {at} {entry.model} {digest:12} {entry.kind} by {entry.actor}: {values}"


@ledger.command()
@click.option(
    "--head", "kept", help="File of a head that was kept elsewhere, or its hash. Detects a truncated end too."
)
@click.option(
    "--public-key",
    type=FILE,
    help="Public key that must have signed the head. Default: the key of PERENNIAL_LEDGER_KEY.",
)
@click.option("--export", "exported", type=FILE, help="Check this export instead of the database.")
def verify(kept: str | None, public_key: Path | None, exported: Path | None) -> None:
    """Check the hash chain of the ledger; detects every edited, removed or moved entry."""
    from perennial.core.governance.ledger import stored
    from perennial.flows.governance import ledger_check
    from perennial.wiring import database, keys

    settings = environment.load()
    holds = keys.ed25519().holds
    head = None if kept is None else _read_head(kept)
    trusted = _trusted(settings, public_key) if head is not None and not isinstance(head, str) else None
    against = None if isinstance(head, str) else head
    if exported is None:
        store = database.store(settings).ledger
        checked, rows = ledger_check.check(store, against, trusted, holds), store.stored()
    else:
        rows = [stored(row) for row in _read_export(exported)]
        checked = ledger_check.check_rows(rows, against, trusted, holds)
    if isinstance(head, str) and head not in {row.hash for row in rows}:
        raise LedgerBroken(f"no entry has the hash {head}", hint=ledger_check.COMPARE)
    if against is not None:
        by, end = checked.signed_by, against.head
        signature = f"signed by {by}" if by else "signature not checked: no key given"
        print_text(f"holds the head of {end.at:%Y-%m-%d %H:%M:%S}, entry {end.seq} ({signature})")
    newest = f", newest hash {checked.newest}" if checked.entries else ""
    print_text(f"{checked.entries} entries, the chain holds{newest}")


@ledger.command()
@click.option("--sign", is_flag=True, help="Sign with the key of PERENNIAL_LEDGER_KEY.")
@click.option("--out", type=FILE, help="Write the head to this file.")
def head(sign: bool, out: Path | None) -> None:
    """Print the end of the chain (number, hash, time). Keep it where nobody with access to the ledger can write."""
    from perennial.flows.governance.ledger_check import take_head
    from perennial.wiring import database, keys

    settings = environment.load()
    signer = keys.signer(settings) if sign else None
    taken = take_head(database.store(settings).ledger, signer, now())
    if out is None:
        print_record(taken)
        return
    out.write_text(taken.model_dump_json(indent=2) + "\n", encoding="utf-8")
    print_text(f"head written to {out}")


@ledger.command()
@click.argument("target", type=FILE)
def keygen(target: Path) -> None:
    """Create a signing key: TARGET, readable by you only, and the public TARGET.pub for verification."""
    from perennial.wiring import keys

    public = keys.ed25519().generate(target)
    print_text(f"private key {target} (set PERENNIAL_LEDGER_KEY to it), public key {target}.pub: {public}")


@ledger.command()
@click.argument("target", type=FILE)
def export(target: Path) -> None:
    """Write all entries with their hashes as JSON lines."""
    from perennial.wiring import database

    rows = database.store(environment.load()).ledger.rows()
    target.write_text("".join(row.model_dump_json() + "\n" for row in rows), encoding="utf-8")
    print_text(f"{len(rows)} entries written to {target}")


def _read_head(kept: str) -> KeptHead | str:
    """Read a file of `ledger head`; return a bare hash as it is."""
    from perennial.flows.governance.ledger_check import KeptHead

    if re.fullmatch(r"[0-9a-f]{64}", kept):
        return kept
    return _parsed(KeptHead, _text_of(Path(kept)), f"{kept} is no head", "`perennial ledger head --out FILE`")


def _read_export(path: Path) -> list[LedgerRow]:
    from perennial.core.events import LedgerRow

    # Not `splitlines`: it also splits at U+2028 and similar characters, which JSON texts may contain.
    text = _text_of(path).removesuffix("\n")
    lines = text.split("\n") if text else []
    hint = "`perennial ledger export FILE` writes an export"
    return [_parsed(LedgerRow, line, f"{path}, line {n}", hint) for n, line in enumerate(lines, start=1)]


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MalformedInput(f"{path} cannot be read: {error}", hint="give a file") from error


def _parsed(kind: type[T], text: str, what: str, hint: str) -> T:
    from pydantic import ValidationError

    try:
        return kind.model_validate_json(text)  # type: ignore[attr-defined]
    except ValidationError as error:
        raise MalformedInput(f"{what}: {error.errors()[0]['msg']}", hint=hint) from error


def _trusted(settings: Settings, public_key: Path | None) -> str | None:
    """Return the public key that must have signed the head; None: no signature is checked."""
    from perennial.wiring import keys

    if public_key is not None:
        return keys.ed25519().read_public(public_key)
    return keys.signer(settings).public if settings.ledger_key is not None else None
