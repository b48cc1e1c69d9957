"""A cell: Envoy and model servers that answer with what was exported from the plant, without the rest of it.

A cell keeps nothing and asks nobody, so that any number of equal ones can stand side by side. Its folder, of which
an image has all but the secrets:

    desired/stable.json   versions that the servers load
    desired/routes.json   confirmed routes, without candidates and backups
    models/<digest>/      signed files of each version
    trusted/*.pub         keys whose signature makes a version one that may be loaded
    secrets/internal      text that Envoy and the servers of the cell share
    secrets/client-keys.json   API keys of clients, as hashes
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Collection
from pathlib import Path

from perennial import files
from perennial.adapters.envoy import state as envoy_state
from perennial.adapters.envoy.state import ConfirmedRoutes
from perennial.core.release.traffic import PoolName, Route
from perennial.errors import FeaturesUnavailable, FileRefused, NotLoaded, ReleaseConflict, UnknownModel
from perennial.serving import desired_state
from perennial.serving.desired_state import DesiredState
from perennial.serving.manifest import load_verified
from perennial.settings import Settings
from perennial.wiring import here

DESIRED, MODELS, TRUSTED, SECRETS = "desired", "models", "trusted", "secrets"
ROUTES = "routes.json"
CLIENT_KEYS = "client-keys.json"
INTERNAL = "internal"


def export(settings: Settings, folder: Path, models: Collection[str]) -> list[str]:
    """Write the folder of a cell from the confirmed routes; returns its versions as `model version digest`.

    Args:
        folder: new or empty.
        models: their names; empty: every model that has a route.

    Raises:
        FileRefused: the folder is not empty.
        UnknownModel: a model has no route.
        ReleaseConflict: a release of a model is running.
        FeaturesUnavailable: a model needs the online store.
        NotLoaded: the stable pool does not hold what a route names.
        NotSigned, ModelFileError: the files of a version are not those that were signed.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FileRefused(f"{folder} is not empty", hint="name a new folder")
    confirmed = envoy_state.read(settings.envoy_dir / ROUTES)
    known = ", ".join(sorted(confirmed.routes)) or "none"
    missing = sorted(set(models) - set(confirmed.routes))
    if missing or not confirmed.routes:
        raise UnknownModel(
            f"no route leads to {', '.join(missing) or 'any model'}",
            hint=f"release a version; routes: {known}",
        )
    routes = {
        name: _settled(route) for name, route in confirmed.routes.items() if not models or name in models
    }
    held = desired_state.read(desired_state.state_file(settings.serving_dir, PoolName.STABLE))
    wanted = {(name, route.stable.digest) for name, route in routes.items()}
    versions = tuple(version for version in held.models if version.identity in wanted)
    lacking = wanted - {version.identity for version in versions}
    if lacking:
        raise NotLoaded(
            f"the stable pool does not hold {', '.join(sorted(name for name, _ in lacking))} as its route says",
            hint="perennial router show",
        )
    trusted = here.trusted(settings)
    for version in versions:
        store = desired_state.version_folder(settings.serving_dir, version.digest)
        manifest = load_verified(store, version.model, version.digest, trusted).manifest
        if manifest.feature_service is not None:
            raise FeaturesUnavailable(
                f"{version.model} reads features from the online store, and a cell has none",
                hint="serve it in the plant, or export the others with --model",
            )
        shutil.copytree(store, folder / MODELS / version.digest)
    desired_state.write(folder / DESIRED / "stable.json", DesiredState(generation=1, models=versions))
    envoy_state.write(folder / DESIRED / ROUTES, ConfirmedRoutes(1, routes))
    shutil.copytree(settings.trusted_keys_folder, folder / TRUSTED, ignore=_all_but_keys)
    files.write_text(folder / SECRETS / INTERNAL, secrets.token_urlsafe(32), files.PRIVATE)
    if settings.client_keys.is_file():
        files.write_bytes(folder / SECRETS / CLIENT_KEYS, settings.client_keys.read_bytes(), files.PRIVATE)
    return [f"{version.model} {version.version} {version.digest}" for version in versions]


def _settled(route: Route) -> Route:
    """Return the route with its champion alone: a cell has no servers of the canary pool."""
    if route.canary is not None:
        raise ReleaseConflict(
            f"a release of {route.model} is running", hint="export when it is final: perennial release status"
        )
    return Route(model=route.model, stable=route.stable)


def _all_but_keys(_folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not name.endswith(".pub")]


def arrange(settings: Settings, folder: Path) -> None:
    """Make the state folder of one process of a cell from the cell's folder, which may be read-only.

    Raises:
        FileRefused: the folder is not that of a cell.
    """
    _, routes = (_read(folder / DESIRED / name) for name in ("stable.json", ROUTES))
    internal = _read(_secret(folder, INTERNAL))
    hold(settings, folder)
    files.write_bytes(settings.envoy_dir / ROUTES, routes)
    files.write_bytes(settings.state / "secrets" / INTERNAL, internal, files.PRIVATE)
    keys = _secret(folder, CLIENT_KEYS)
    if keys.is_file():
        files.write_bytes(settings.client_keys, keys.read_bytes(), files.PRIVATE)


def hold(settings: Settings, folder: Path) -> None:
    """Make what a model server of a cell reads: the versions of the cell's folder, and the keys that signed them.

    Raises:
        FileRefused: the folder is not that of a cell.
    """
    desired = _read(folder / DESIRED / "stable.json")
    settings.state.mkdir(parents=True, exist_ok=True)
    files.write_bytes(desired_state.state_file(settings.serving_dir, PoolName.STABLE), desired)
    for path in sorted((folder / TRUSTED).glob("*.pub")):
        files.write_bytes(settings.trusted_keys_folder / path.name, path.read_bytes())
    store = settings.serving_dir / "store"
    store.mkdir(parents=True, exist_ok=True)
    for path in sorted((folder / MODELS).glob("*")):
        link = store / path.name
        link.unlink(missing_ok=True)
        os.symlink(path.resolve(), link)


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise FileRefused(f"{path} is missing", hint="perennial cell export FOLDER writes it")
    return path.read_bytes()


def _secret(folder: Path, name: str) -> Path:
    """Return the path of a secret: in the folder of secrets, or in one below it, where each is a mount of its own."""
    direct = folder / SECRETS / name
    return direct if direct.is_file() else next(iter(folder.glob(f"{SECRETS}/*/{name}")), direct)
