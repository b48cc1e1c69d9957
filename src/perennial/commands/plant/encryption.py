"""Command `encryption`: keys that encrypt backups and the uploaded log, and their rotation."""

from __future__ import annotations

from pathlib import Path

import click

from perennial import settings as environment
from perennial.commands.output import JSON, print_json, print_table, print_text
from perennial.errors import SettingsError

BACKUPS = click.argument(
    "backups", nargs=-1, metavar="[BACKUP]...", type=click.Path(path_type=Path, exists=True, file_okay=False)
)
PLAIN = "not encrypted"


@click.group()
def encryption() -> None:
    """Manage the keys that encrypt backups and the uploaded prediction log."""


@encryption.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--id", "key_id", required=True, help="Name of the new key for ever: a date, as 2026-03.")
def generate(file: Path, key_id: str) -> None:
    """Put a new key in front of the keys in FILE, which only its owner may read.

    PERENNIAL_ENCRYPTION_KEYS_FILE names FILE. Keep a copy of it elsewhere: without its keys nothing that they encrypted
    can be read again.
    """
    from perennial.encryption.keyring import generate as make

    print_text(f"{file}: {', '.join(make(file, key_id))}; the first one writes, all read")


@encryption.command()
@BACKUPS
@JSON
def status(backups: tuple[Path, ...], as_json: bool) -> None:
    """Show which keys open the uploaded log and each BACKUP: a key that none of them needs may go."""
    from perennial.local.backup.restore import backup_folder
    from perennial.wiring import releasing

    settings = environment.load()
    rows = []
    for backup in backups:
        ids = backup_folder(settings, backup).key_ids() or {PLAIN}
        rows += [{"what": str(backup), "key": key_id, "objects": None} for key_id in sorted(ids)]
    if settings.log_bucket is not None and settings.keyring is not None:
        rotation = releasing.log_rotation(settings)
        counts = rotation.key_ids() if rotation is not None else {}
        rows += [
            {"what": settings.log_bucket, "key": key_id or PLAIN, "objects": count}
            for key_id, count in sorted(counts.items())
        ]
    known = settings.keyring.ids if settings.keyring is not None else ()
    states = {key_id: "writes" if key_id == known[0] else "reads" for key_id in known} | {PLAIN: ""}
    rows = [row | {"here": states.get(str(row["key"]), "MISSING")} for row in rows]
    if as_json:
        print_json({"keys": list(known), "encrypted": rows})
        return
    print_text(f"keys: {', '.join(known) or 'none: nothing new is encrypted'}")
    texts = [["" if value is None else str(value) for value in row.values()] for row in rows]
    print_table(["what", "key", "objects", "here"], texts)


@encryption.command()
@BACKUPS
def rotate(backups: tuple[Path, ...]) -> None:
    """Bring the uploaded log and each BACKUP to the first key; what of the log is not encrypted yet is encrypted.

    Contents are not encrypted again, only the key that each file has. Can be stopped and given again at any time.
    """
    from perennial.local.backup.restore import backup_folder
    from perennial.wiring import releasing

    settings = environment.load()
    rotation = releasing.log_rotation(settings)  # first: without keys nothing is touched
    for backup in backups:
        folder = backup_folder(settings, backup)
        if not folder.is_encrypted:
            raise SettingsError(f"{backup} is not encrypted", hint="make another: perennial backup")
    for backup in backups:
        changed, count = backup_folder(settings, backup).rotate()
        print_text(f"{backup}: {changed} of {count} files have the first key now")
    if rotation is not None:
        done = rotation.run()
        print_text(
            f"{settings.log_bucket}: {done.rewrapped} segments have the first key now, {done.encrypted} were "
            f"encrypted, {done.current} had it"
        )
