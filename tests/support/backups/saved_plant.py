"""A plant of files and SQLite that can be saved, with what of it a backup has and has not."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from signing import FOLDER

from perennial.core.events import Entry
from perennial.local.backup.make import make
from perennial.settings import Settings
from perennial.wiring import database

AT = datetime(2026, 3, 1, 8, tzinfo=UTC)
PASSPHRASE = "a long passphrase"
KEPT = {
    "mlflow/artifacts/1/run/model.onnx": "model",
    "releases/files/abc/seal.json": "{}",
    "serving/store/abc/model.onnx": "model",
    "serving/pools/stable.json": '{"generation": 1, "models": []}',
    "serving/log/rates/journal.jsonl": "a line\n",
    "serving/feedback/stored.json": "{}",
    "envoy/routes.json": '{"generation": 1, "routes": {}}',
    "keys/trusted/ours.pub": "public",
    "client-keys.json": "hashes",
    "data/.git/refs/perennial/latest": "commit",
    "dvc-remote/files/md5/ab/cd": "rows",
    "feast/offline/view.parquet": "rows",
    "something/new": "kept, for nobody knows better",
}
LEFT_OUT = {
    "logs/envoy.log": "", "work/rates/1/train.json": "", "envoy/lds/listeners.json": "", "data/rows.parquet": "",
    "data/.dvc/cache/files/md5/ab/cd": "", "supervisord.conf": "", "secrets/processes/mlflow/database_url": "",
    "serving/store/.abc.123/model.onnx": "", "feast/.lock": "", "perennial.db.0001-20260101.backup": "",
}  # fmt: skip
KEYS = {
    name: f"secret of {name}"
    for name in ("accounts.json", "keys/signing.pem", "secrets/internal", "tls/key.pem", "mine/ledger.pem")
}


def some_plant(home: Path) -> Settings:
    """Write the files of a plant, with a ledger of one entry and MLflow's database."""
    settings = Settings(home=home, trusted_keys=FOLDER, ledger_key=home / "mine/ledger.pem")
    write(settings.state, KEPT | LEFT_OUT | KEYS)
    note(settings, "first")
    with sqlite3.connect(settings.mlflow_dir / "mlflow.db") as connection:
        connection.execute("CREATE TABLE runs (artifact_uri)")
        connection.execute("INSERT INTO runs VALUES (?)", (f"{settings.artifacts}/1/run/artifacts",))
    return settings


def write(folder: Path, contents: dict[str, str]) -> None:
    for name, text in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def note(settings: Settings, kind: str) -> None:
    database.store(settings).ledger.append(Entry(at=AT, actor="ann", kind=kind, model="rates"))


def save(plant: Settings, target: Path, passphrase: str | None = None, say=lambda line: None):
    return make(plant, target, passphrase, AT, say)


def elsewhere(folder: Path) -> Settings:
    return Settings(home=folder / "elsewhere" / "state", trusted_keys=FOLDER)


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
