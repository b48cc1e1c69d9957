"""Small files of the state folder that the control plane hands to every serving machine, signed as versions are."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from perennial.errors import NotSigned
from perennial.files import PRIVATE, write_bytes
from perennial.serving.signed_files import SIGNED_FILES, TrustedKeys, read_listed, read_signed, sign_files

if TYPE_CHECKING:
    from perennial.ports import Signer

NAME = "handed files"
"""Name of the set, in its signature too: no list of a model's files is one of these."""
HANDED = {
    "client-keys.json": "client-keys.json",
    "feedback-sources.json": "feedback-sources.json",
    "feast-feature_store.yaml": "feast/feature_store.yaml",
    "feast-definitions.json": "feast/definitions.json",
    "feast-registry.db": "feast/registry.db",
}
"""Name in the set -> path below the state folder: hashes of keys, and what `perennial features publish` has defined.
Feast's registry holds code, and whose key is on the list may ask: both must be signed."""


def pack(state: Path, signer: Callable[[], Signer]) -> str:
    """Return the files that are there with their signed list, as JSON; an empty text where there is none.

    Args:
        signer: returns who signs; it is asked only where there is a file.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        for part, path in HANDED.items():
            if (state / path).is_file():
                (folder / part).write_bytes((state / path).read_bytes())
        if not any(folder.iterdir()):
            return ""
        sign_files(folder, NAME, "", signer())
        return json.dumps(
            {path.name: b64encode(path.read_bytes()).decode() for path in sorted(folder.iterdir())}
        )


def keep(state: Path, body: str, trusted: TrustedKeys) -> None:
    """Write the files of a set that a trusted key signed; a file that is not in it is removed.

    Raises:
        NotSigned: no trusted key signed exactly these files; nothing has changed.
    """
    if not body:
        return
    with TemporaryDirectory() as name:
        folder = Path(name)
        contents = json.loads(body)
        if not contents.keys() <= {SIGNED_FILES, *HANDED}:
            raise NotSigned(f"{NAME}: {sorted(contents)}", hint="are both halves of one version?")
        for part, text in contents.items():
            (folder / part).write_bytes(b64decode(text, validate=True))
        digest, _ = read_listed(folder, NAME)
        checked = read_signed(folder, NAME, digest, trusted)
    for part, path in HANDED.items():
        target = state / path
        if part not in checked:
            target.unlink(missing_ok=True)
        elif not target.is_file() or target.read_bytes() != checked[part]:
            write_bytes(target, checked[part], PRIVATE)
