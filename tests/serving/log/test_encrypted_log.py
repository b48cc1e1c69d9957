"""The uploaded log, encrypted: readers see what they saw, the bucket shows nothing, and keys rotate."""

from __future__ import annotations

import shutil

import pytest
from uploading.days import BUCKET, NOW, assert_same, days_here, everything, keys

from perennial.cli import main
from perennial.encryption import keyring
from perennial.errors import SettingsError
from perennial.local.backup.make import make
from perennial.local.backup.restore import restore
from perennial.secret_errors import DecryptionFailed, KeyMissing
from perennial.serving.log import encrypted
from perennial.serving.log.encrypted import LogRotation
from perennial.serving.log.upload import SegmentUpload
from perennial.serving.prediction_log_reader import PredictionLogReader
from perennial.settings import Settings

pytestmark = pytest.mark.server


def ring(*ids: str) -> keyring.Keyring:
    return keyring.Keyring(tuple(keyring.Key(name, name.encode().ljust(32, b"k")) for name in ids))


OLD, NEW, BOTH = ring("old"), ring("new"), ring("new", "old")


def contents(s3) -> dict[str, bytes]:
    return {key: s3.get_object(Bucket="logs", Key=key)["Body"].read() for key in keys(s3)}


def test_readers_see_one_log_and_the_bucket_shows_nothing(log, s3):
    before = everything(log)
    done = SegmentUpload(log, BUCKET, 3, OLD).run("m", NOW, None)
    assert (done.uploaded, done.removed_here, done.elsewhere) == (9, 6, 6)
    assert all(key.endswith(".parquet.enc") for key in keys(s3))
    assert not [
        key for key, content in contents(s3).items() if b"PAR1" in content or b"prediction_id" in content
    ]
    assert_same(everything(log, OLD), before)
    assert not list(log.rglob("*.partial"))
    again = SegmentUpload(log, BUCKET, 3, OLD).run("m", NOW, None)
    assert (again.uploaded, again.removed_here, again.pruned, again.elsewhere) == (0, 0, 0, 6)
    (log / "m" / "uploaded.json").unlink()
    assert SegmentUpload(log, BUCKET, 3, OLD).run("m", NOW, None).elsewhere == 6
    assert_same(everything(log, OLD), before)


def test_without_the_key_the_log_is_an_error_and_no_smaller_one(log, s3):
    SegmentUpload(log, BUCKET, 3, OLD).run("m", NOW, None)
    with pytest.raises(
        KeyMissing, match=r"m/day=.*parquet is encrypted by the key old; the keys here are new"
    ):
        PredictionLogReader(log, NEW).read("m")
    with pytest.raises(SettingsError, match="PERENNIAL_ENCRYPTION_KEYS is not set"):
        SegmentUpload(log, BUCKET, 3).run("m", NOW, None)  # nothing goes there unencrypted by a slip
    shutil.copytree(log / "m", log / "new")
    (log / "new" / "uploaded.json").unlink()
    with pytest.raises(SettingsError, match="PERENNIAL_ENCRYPTION_KEYS is not set"):
        SegmentUpload(log, BUCKET, 3).run("new", NOW, None)  # nor the first log of another model
    shutil.rmtree(log / "new")
    first, second = keys(s3)[:2]
    stored = s3.get_object(Bucket="logs", Key=second)
    s3.put_object(Bucket="logs", Key=first, Body=stored["Body"].read(), Metadata=stored["Metadata"])
    with pytest.raises(DecryptionFailed, match="put in the place of another"):
        PredictionLogReader(log, OLD).read("m")


def test_a_log_that_was_not_encrypted(log, s3):
    """What is here, too, is sent again; what is there alone is encrypted by a rotation."""
    before = everything(log)
    SegmentUpload(log, BUCKET, 3).run("m", NOW, None)
    SegmentUpload(log, BUCKET, 3, OLD).run("m", NOW, None)
    assert len(keys(s3)) == 9
    assert len([key for key in keys(s3) if key.endswith(".enc")]) == 3
    assert_same(everything(log, OLD), before)
    rotation = LogRotation(log, BUCKET, OLD)
    assert rotation.key_ids() == {"old": 3, "": 6}
    assert rotation.run() == encrypted.Rotation(current=3, encrypted=6)
    assert rotation.key_ids() == {"old": 9}
    assert_same(everything(log, OLD), before)
    assert SegmentUpload(log, BUCKET, 3, OLD).run("m", NOW, None).uploaded == 0


@pytest.mark.parametrize(
    ("step", "then"),
    [("put_file", "upload"), ("rm_file", "upload"), ("index", "rotate"), ("get_file", "rotate")],
)
def test_a_rotation_that_is_killed_loses_nothing_and_is_repeated(log, s3, monkeypatch, step, then):
    """Stopped at the third use of each step, with objects of an old key and such as were not encrypted."""
    before = everything(log)
    SegmentUpload(log, BUCKET, 3).run("m", NOW, None)
    SegmentUpload(log, BUCKET, 3, OLD).run("m", NOW, None)
    with encrypted.storage(BUCKET) as opened:
        files = opened  # fsspec gives every caller this one
    uses = []

    def stopping(whole):
        def used(*given, **named):
            uses.append(given)
            if len(uses) == 3:
                raise KeyboardInterrupt
            return whole(*given, **named)

        return used

    with monkeypatch.context() as patch:
        if step == "index":
            patch.setattr(encrypted, "write_index", stopping(encrypted.write_index))
        else:
            patch.setattr(files, step, stopping(getattr(files, step)))
        with pytest.raises(KeyboardInterrupt):
            LogRotation(log, BUCKET, BOTH).run()
    assert_same(everything(log, BOTH), before)
    if then == "upload":
        SegmentUpload(log, BUCKET, 3, BOTH).run("m", NOW, None)
        assert_same(everything(log, BOTH), before)
    LogRotation(log, BUCKET, BOTH).run()
    assert_same(everything(log, NEW), before)
    assert LogRotation(log, BUCKET, NEW).key_ids() == {"new": 9}


def test_a_backup_of_an_encrypted_log_is_restored_into_another_bucket(log, s3, tmp_path, monkeypatch, capsys):
    """The commands, and after it: nothing is sent twice, since the objects have the hashes of their segments."""
    s3.create_bucket(Bucket="other")
    home, file = tmp_path / "home", tmp_path / "encryption.keys"
    (home / "serving").mkdir(parents=True)
    (log / "m").rename(home / "serving" / "m")
    (home / "serving" / "log").mkdir()
    (home / "serving" / "m").rename(home / "serving" / "log" / "m")
    before = everything(home / "serving" / "log")
    monkeypatch.setenv("PERENNIAL_HOME", str(home))
    monkeypatch.setenv("PERENNIAL_LOG_BUCKET", BUCKET)
    monkeypatch.setenv("PERENNIAL_ENCRYPTION_KEYS_FILE", str(file))
    assert main(["encryption", "generate", str(file), "--id", "2026-03"]) == 0
    plant = Settings()
    SegmentUpload(home / "serving" / "log", BUCKET, 3, plant.keyring).run("m", NOW, None)
    make(plant, tmp_path / "backup", None, NOW, lambda line: None)
    there = Settings(home=tmp_path / "there", log_bucket="s3://other/log")
    restore(there, tmp_path / "backup", None, lambda line: None)
    folder = there.serving_dir / "log"
    index = folder / "m" / "uploaded.json"
    index.write_text(index.read_text().replace(BUCKET, "s3://other/log"))
    assert_same(everything(folder, there.keyring), before)
    assert SegmentUpload(folder, "s3://other/log", 3, there.keyring).run("m", NOW, None).uploaded == 0
    assert main(["encryption", "generate", str(file), "--id", "2026-04"]) == 0
    capsys.readouterr()
    assert main(["encryption", "rotate"]) == 0
    assert "9 segments have the first key now, 0 were encrypted, 0 had it" in capsys.readouterr().out
    assert main(["encryption", "status", str(tmp_path / "backup")]) == 0
    shown = capsys.readouterr().out
    assert "2026-04, 2026-03" in shown
    assert [line.split()[-1] for line in shown.splitlines()[-2:]] == ["reads", "writes"]
    assert days_here(folder) == 4
