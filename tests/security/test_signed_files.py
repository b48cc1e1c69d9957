"""Whoever may write where the files of a version lie cannot change what it answers: what is not signed never loads."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest
from one_server import Server
from serving_stack import until
from signing import KEY, STRANGER, TRUSTED, signed
from tiny_models import tensor_body, tiny_version

from perennial.adapters.bentoml.pool import BentoPool
from perennial.core.version import VersionRef
from perennial.errors import NotSigned, SettingsError
from perennial.serving import desired_state
from perennial.serving.manifest import load_verified
from perennial.serving.signed_files import SIGNED_FILES, TrustedKeys, key_id
from perennial.settings import Settings
from perennial.wiring import keys

BACKGROUND = [[0.0] * 4, [1.0] * 4]


def version(folder: Path) -> tuple[VersionRef, Path]:
    return tiny_version(folder, "tiny", "1.0.0", 0.0, background=BACKGROUND)


def edit(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


def lower_threshold(files: Path) -> None:
    path = files / "manifest.json"
    path.write_text(path.read_text().replace('"threshold": 0.5', '"threshold": 0.0'))


def rewrite(files: Path, **changes) -> None:
    """Change the statement and leave the signature as it is."""
    envelope = json.loads((files / SIGNED_FILES).read_text())
    statement = json.loads(base64.b64decode(envelope["payload"])) | changes
    envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    (files / SIGNED_FILES).write_text(json.dumps(envelope))


def subjects(files: Path) -> list[dict]:
    return json.loads(base64.b64decode(json.loads((files / SIGNED_FILES).read_text())["payload"]))["subject"]


ATTACKS = {
    "model": lambda files: edit(files / "model.onnx"),
    "manifest": lambda files: lower_threshold(files),
    "background": lambda files: edit(files / "background.json"),
    "truncated": lambda files: (files / "model.onnx").write_bytes(b""),
    "unsigned": lambda files: (files / SIGNED_FILES).unlink(),
    "no envelope": lambda files: (files / SIGNED_FILES).write_text("{}"),
    "no signature": lambda files: (files / SIGNED_FILES).write_text(
        json.dumps(json.loads((files / SIGNED_FILES).read_text()) | {"signatures": []})
    ),
    "fewer files": lambda files: rewrite(files, subject=subjects(files)[1:]),
    "extra file": lambda files: (files / "more.json").write_text("{}"),
    "extra folder": lambda files: (files / "more").mkdir(),
    "missing file": lambda files: (files / "background.json").unlink(),
    "link": lambda files: (
        shutil.move(files / "manifest.json", files.parent / "elsewhere"),
        (files / "manifest.json").symlink_to(files.parent / "elsewhere"),
    ),
    "signed anew by a stranger": lambda files: (lower_threshold(files), signed(files, "tiny", key=STRANGER)),
    "signed anew by the trusted key": lambda files: (lower_threshold(files), signed(files, "tiny")),
    "of another version": lambda files: shutil.copy(
        tiny_version(files.parent / "other", "tiny", "2.0.0", 1.0)[1] / SIGNED_FILES, files / SIGNED_FILES
    ),
}
every_attack = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)


def test_untouched_files_load(tmp_path):
    ref, files = version(tmp_path)
    assert load_verified(files, "tiny", ref.digest, TRUSTED).manifest.task.threshold == 0.5


@every_attack
def test_changed_files_are_refused_by_gate_fetch_load_and_rollback(tmp_path, attack):
    """All four read through the same check."""
    ref, files = version(tmp_path)
    attack(files)
    with pytest.raises(NotSigned) as refused:
        load_verified(files, "tiny", ref.digest, TRUSTED)
    assert refused.value.exit_code == 44
    assert "tiny" in refused.value.message


@every_attack
def test_the_pool_stores_none_of_it(tmp_path, attack):
    ref, files = version(tmp_path)
    attack(files)
    pool = BentoPool(tmp_path / "serving", "127.0.0.1", {"stable": [1]}, TRUSTED)
    with pytest.raises(NotSigned):
        pool.ensure("stable", ref, files)
    assert not (tmp_path / "serving" / "store" / ref.digest).exists()


def test_the_pool_repairs_a_store_that_somebody_edited(tmp_path):
    ref, files = version(tmp_path)
    pool = BentoPool(tmp_path / "serving", "127.0.0.1", {"stable": [1]}, TRUSTED)
    pool.ensure("stable", ref, files)
    stored = tmp_path / "serving" / "store" / ref.digest
    lower_threshold(stored)
    pool.ensure("stable", ref, files)
    assert load_verified(stored, "tiny", ref.digest, TRUSTED).manifest.task.threshold == 0.5


@every_attack
def test_a_server_never_answers_with_it(tmp_path, attack):
    ref, files = version(tmp_path / "made")
    server = Server(tmp_path / "serving")
    store = desired_state.version_folder(tmp_path / "serving", ref.digest)
    shutil.copytree(files, store)
    attack(store)
    wanted = desired_state.DesiredState().with_version(desired_state.DesiredVersion.of(ref))
    desired_state.write(desired_state.state_file(tmp_path / "serving", "stable"), wanted)
    server.host.converge()
    assert server.client.post("/v2/models/tiny/infer", json=tensor_body()).status_code == 503
    (report,) = server.client.get("/v1/pool").json()["models"]
    assert not report["loaded"]
    assert report["error"]


def test_a_statement_of_another_model_or_digest_does_not_pass(tmp_path):
    ref, files = version(tmp_path)
    digest = signed(files, "other")
    with pytest.raises(NotSigned, match="of the model other"):
        load_verified(files, "tiny", digest, TRUSTED)
    with pytest.raises(NotSigned, match="expected is"):
        load_verified(files, "tiny", ref.digest, TRUSTED)


def test_a_stranger_who_takes_the_name_of_the_key_is_refused(tmp_path):
    _, files = version(tmp_path)
    digest = signed(files, "tiny", key=STRANGER)
    envelope = json.loads((files / SIGNED_FILES).read_text())
    envelope["signatures"][0]["keyid"] = key_id(KEY.public)
    (files / SIGNED_FILES).write_text(json.dumps(envelope))
    with pytest.raises(NotSigned, match="no trusted key"):
        load_verified(files, "tiny", digest, TRUSTED)


def test_keys_are_made_once_private_and_trusted(tmp_path):
    settings = Settings(home=tmp_path)
    with pytest.raises(SettingsError, match="is missing") as refused:
        keys.file_signer(settings)
    assert "local setup" in refused.value.hint
    assert keys.make_signing_key(settings)
    assert not keys.make_signing_key(settings)
    assert settings.signing_key_file.stat().st_mode & 0o077 == 0
    signer = keys.file_signer(settings)
    _, files = version(tmp_path)
    digest = signed(files, "tiny", key=signer)
    assert load_verified(files, "tiny", digest, TrustedKeys(settings.trusted_keys_folder))
    with pytest.raises(NotSigned):
        load_verified(files, "tiny", digest, TRUSTED)
    (settings.trusted_keys_folder / "signing.pub").unlink()
    with pytest.raises(NotSigned, match="has 0"):
        load_verified(files, "tiny", digest, TrustedKeys(settings.trusted_keys_folder))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", SIGNED_FILES, "more.json"])
def test_edited_artifacts_of_mlflow_are_not_fetched(tmp_path, name):
    """The operator's way: the file of a registered version in MLflow's artifact folder."""
    import numpy as np

    from perennial.adapters.mlflow.registry import MlflowRegistry
    from perennial.adapters.mlflow.tracker import MlflowTracker
    from perennial.adapters.sql.version_numbers import SqlVersionNumbers
    from perennial.core.training.registration import NewVersion
    from perennial.core.version import Change

    url = f"sqlite:///{tmp_path / 'mlflow.db'}"
    ref, files = version(tmp_path)
    with MlflowTracker(url, tmp_path / "artifacts").run("tiny", "training", {}) as run:
        uri = run.model(files, None, np.zeros((2, 4), dtype=np.float32), np.zeros(2, dtype=np.float32))
    registry = MlflowRegistry(url, SqlVersionNumbers(f"sqlite:///{tmp_path / 'numbers.db'}").take, TRUSTED)
    ref = registry.register(
        NewVersion(
            model="tiny", run_id=run.run_id, model_uri=uri, digest=ref.digest, capsule=ref.capsule,
            change=Change.RETRAINED, description="made for a test",
        )
    )  # fmt: skip
    registry.fetch(ref, tmp_path / "sound")
    (served,) = tmp_path.glob(f"artifacts/tiny/{run.run_id}/artifacts/served")
    (served / name).write_bytes((served / name).read_bytes() + b" {" if (served / name).exists() else b"{}")
    with pytest.raises(NotSigned):
        registry.fetch(ref, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


@pytest.mark.traffic
def test_two_servers_never_answer_differently_under_one_digest(serving_stack, tmp_path):
    """One edits a file in the serving store and has one server start anew: it answers as before, or not at all."""
    ref, files = tiny_version(tmp_path, "one_digest", "1.0.0", 0.0)
    serving_stack.load("canary", ref, files)
    store = serving_stack.settings.serving_dir / "store" / ref.digest
    lower_threshold(store)
    serving_stack.pool.drop("canary", ref.model, ref.digest)
    ready = lambda: serving_stack.pool.readiness("canary", ref.model, ref.digest)  # noqa: E731
    until(lambda: ready().ready == 0, 20, "let go")
    state = serving_stack.settings.serving_dir / "pools" / "canary.json"
    wanted = json.loads(state.read_text())
    wanted["models"].append(
        {
            "model": ref.model,
            "version": ref.version,
            "key": ref.key,
            "digest": ref.digest,
            "capsule": ref.capsule,
        }
    )
    state.write_text(json.dumps(wanted))
    until(lambda: ready().errors, 20, "the reason")
    assert ready().ready == 0
    assert "manifest.json has digest" in ready().errors[0]
    serving_stack.pool.drop("canary", ref.model, ref.digest)
