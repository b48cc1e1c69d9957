"""Commands `backup` and `restore`: all state of this plant, into a folder and back."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import click

from perennial import settings as environment
from perennial.commands.output import now, print_text
from perennial.errors import FileRefused

FOLDER = click.Path(path_type=Path, file_okay=False)
KEYS = click.option(
    "--keys", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE",
    help="File with the passphrase of private keys and passwords.  [default: a backup has none of them]",
)  # fmt: skip


@click.command()
@click.argument("target", type=FOLDER)
@KEYS
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    metavar="N",
    help="TARGET is a folder of backups: make one in it, named by the time, then remove all but the newest N.",
)
def backup(target: Path, keys: Path | None, keep: int | None) -> None:
    """Copy all state of the plant into TARGET, a new folder, while it runs.

    A backup that was stopped has no manifest and is none: give the command again. TARGET is for its owner only; it
    has hashes of passwords and all logged requests, encrypted where PERENNIAL_ENCRYPTION_KEYS is set.
    """
    from perennial.local.backup import sources
    from perennial.local.backup.make import check_target, make
    from perennial.local.backup.series import next_of

    settings = environment.load()
    if keys is not None and keys.resolve().is_relative_to(settings.state):
        raise FileRefused(
            f"{keys} lies in the state folder: the backup would have its own passphrase",
            hint="keep it elsewhere",
        )
    check_target(settings, target)
    at = now()
    with nullcontext(target) if keep is None else next_of(target, keep, at, print_text) as folder:
        made = make(settings, folder, _passphrase(keys), at, print_text)
    for why, count in sorted(made.left_out.items()):
        print_text(f"left out: {why} ({count} files)")
    for line in sources.not_saved(settings):
        print_text(f"left out: {line}")
    if settings.keyring is not None:
        print_text(f"encrypted by the key {settings.keyring.first.id}")
    head = made.ledger
    print_text(f"{folder}: {len(made.files)} files, {made.size:,} bytes; ledger {head.seq} {head.hash}")


@click.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True, file_okay=False))
@KEYS
def restore(source: Path, keys: Path | None) -> None:
    """Restore the backup SOURCE into the state folder, databases and buckets of the settings, which must be empty.

    Everything is verified before anything is written. `perennial local up` starts the plant afterwards; without
    --keys its set-up makes new passwords and a new signing key.
    """
    from perennial.local.backup import sources
    from perennial.local.backup.restore import restore as run

    settings = environment.load()
    run(settings, source, _passphrase(keys), print_text)
    if keys is None and settings.signing_key is None:
        key, trusted = settings.signing_key_file, settings.trusted_keys_folder
        print_text("perennial local setup makes a new key that signs versions; to train here, trust it:")
        print_text(f"  cp {key}.pub {trusted / 'restored.pub'}")
    for line in sources.not_saved(settings):
        print_text(f"not restored: {line}")


def _passphrase(path: Path | None) -> str | None:
    return None if path is None else path.read_text().strip()
