"""A serving folder that holds one version, from a folder with its files."""

from __future__ import annotations

import base64
from pathlib import Path

from pydantic import ValidationError

from perennial.errors import FileRefused, ModelFileError, NotSigned
from perennial.serving import desired_state
from perennial.serving.desired_state import DesiredState, DesiredVersion
from perennial.serving.manifest import MANIFEST_FILE, MODEL_FILE, SEAL_FILE, ServedManifest, load_verified
from perennial.serving.signed_files import TrustedKeys, read_listed, sign_files, write_contents

POOL = "stable"
UNREGISTERED = "0.0.0"
"""Version of a file; a registry numbers from 1.0.0."""


def model_folder(path: Path) -> Path:
    """Return the folder of the served files that a path names: the folder itself or its model file.

    Raises:
        FileRefused: there is no such path, it is no ONNX model, or it has no manifest beside it.
    """
    folder = path if path.is_dir() else path.parent
    if not path.exists():
        raise FileRefused(f"{path} does not exist", hint=f"name {MODEL_FILE} or its folder")
    if path.is_file() and path.name != MODEL_FILE:
        raise FileRefused(
            f"{path} is not {MODEL_FILE}",
            hint="only ONNX is served, never a pickle: `perennial models import` converts a model of a library",
        )
    for name in (MODEL_FILE, MANIFEST_FILE):
        if not (folder / name).is_file():
            raise FileRefused(
                f"{folder / name} is missing",
                hint="a training or `perennial models import` writes both files",
            )
    return folder


def hold_signed(folder: Path, serving: Path, trusted: TrustedKeys) -> None:
    """Write the state and the files of a version that a trusted key signed.

    Raises:
        NotSigned: no trusted key signed exactly these files.
        ModelFileError: the manifest cannot be read.
    """
    manifest = _manifest(folder)
    try:
        digest, contents = read_listed(folder, manifest.model, (SEAL_FILE,))
        store = desired_state.version_folder(serving, digest)
        write_contents(store, contents)
        load_verified(store, manifest.model, digest, trusted)
    except NotSigned as error:
        raise NotSigned(error.message, hint="if you trust who made these files, add --unsigned") from error
    hold(_unregistered(manifest, digest), serving)


def hold_unsigned(folder: Path, serving: Path) -> TrustedKeys:
    """Write the state and the files of a version that the caller trusts, signed with a key that lives as long.

    Returns:
        The folder of that key; it stands for no other.

    Raises:
        ModelFileError: the manifest cannot be read, or names another file that is missing.
    """
    manifest = _manifest(folder)
    contents = {}
    for name in manifest.files:
        if name != Path(name).name or not (folder / name).is_file():
            raise ModelFileError(
                f"{folder}: the manifest names {name!r}, and there is no such file beside it",
                hint="serve the folder of the training",
            )
        contents[name] = (folder / name).read_bytes()
    aside, key = serving / "unsigned", _PassingKey()
    write_contents(aside, contents)
    digest = sign_files(aside, manifest.model, manifest.capsule, key)
    store = desired_state.version_folder(serving, digest)
    store.parent.mkdir(parents=True, exist_ok=True)
    aside.rename(store)
    trusted = serving / "trusted"
    write_contents(trusted, {"passing.pub": key.public.encode()})
    hold(_unregistered(manifest, digest), serving)
    return TrustedKeys(trusted)


def hold(wanted: DesiredVersion, serving: Path) -> None:
    """Write the state of a serving folder whose one version is this."""
    state = DesiredState(generation=1, models=(wanted,))
    desired_state.write(desired_state.state_file(serving, POOL), state)


def _unregistered(manifest: ServedManifest, digest: str) -> DesiredVersion:
    return DesiredVersion(
        model=manifest.model, version=UNREGISTERED, key="", digest=digest, capsule=manifest.capsule
    )


def _manifest(folder: Path) -> ServedManifest:
    path = folder / MANIFEST_FILE
    try:
        return ServedManifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelFileError(
            f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}", hint="train or import it again"
        ) from error


class _PassingKey:
    """A Signer with a key that is never stored."""

    def __init__(self) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._key = Ed25519PrivateKey.generate()
        self.public = base64.b64encode(self._key.public_key().public_bytes_raw()).decode()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)
