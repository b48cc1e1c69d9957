"""References to secrets, and secrets in files: how they are written, replaced and refused."""

from __future__ import annotations

import os
import threading

import pytest

from perennial.errors import SettingsError
from perennial.local.doctor import configured
from perennial.secret_errors import SecretForbidden, SecretMissing
from perennial.secret_settings import MAY_BE_EMPTY, SECRETS
from perennial.secret_sources import mounted_files
from perennial.secret_sources.mounted_files import FileSecrets
from perennial.secret_sources.reference import SecretReference, parse, vault_place
from perennial.settings import Settings, load


def test_the_parts_of_a_place_in_the_vault():
    assert vault_place(parse("V", "vault:team/kv/data/plant/a#db.url")) == ("team/kv", "plant/a", "db.url")
    assert vault_place(parse("V", "vault:kv/data/data/x#y")) == ("kv", "data/x", "y")


@pytest.mark.parametrize(
    "text",
    ["postgresql://me:hidden@db/x", "hidden", "vault:", "file:", "vault:secret/hidden#x",
     "vault:secret/data/hidden", "http://hidden"],
)  # fmt: skip
def test_what_is_no_reference_is_not_repeated(text):
    """Somebody may have written the secret itself there."""
    with pytest.raises(SettingsError, match="V is no ") as refused:
        parse("V", text)
    assert "hidden" not in str(refused.value) + refused.value.hint


def test_a_value_a_file_and_a_reference(tmp_path, monkeypatch):
    path = tmp_path / "url"
    path.write_text("sqlite:///a.db\n")
    monkeypatch.setenv("PERENNIAL_DATABASE_URL_FROM", f"file:{path}")
    assert load().database_url == "sqlite:///a.db"
    monkeypatch.setenv("PERENNIAL_DATABASE_URL_FILE", str(path))
    with pytest.raises(SettingsError, match=r"both PERENNIAL_DATABASE_URL_FILE and .*_FROM are set"):
        load()
    monkeypatch.setenv("PERENNIAL_DATABASE_URL", "sqlite:///b.db")
    assert load().database_url == "sqlite:///b.db"


def test_a_vault_without_an_address(monkeypatch):
    monkeypatch.setenv("PERENNIAL_TOKEN_FROM", "vault:secret/data/perennial#token")
    with pytest.raises(SettingsError, match="PERENNIAL_VAULT_ADDRESS is not set"):
        load()
    monkeypatch.setenv("PERENNIAL_VAULT_ADDRESS", "https://me:word@vault:8200")
    with pytest.raises(SettingsError, match="PERENNIAL_VAULT_ADDRESS") as refused:
        load()
    assert "word@" not in str(refused.value)


def test_the_doctor_says_where_secrets_came_from(tmp_path, monkeypatch):
    (tmp_path / "token").write_text("hidden")
    monkeypatch.setenv("PERENNIAL_TOKEN_FILE", str(tmp_path / "token"))
    (finding,) = configured.values(load())
    assert finding.what == "valid; secrets: 1 of files"


def mounted(tmp_path, version: str, value: str) -> SecretReference:
    """Mount a secret as the kubelet does: a folder for each version, and a link that it moves."""
    folder = tmp_path / "mounted"
    (folder / version).mkdir(parents=True)
    (folder / version / "token").write_text(value)
    (folder / "..tmp").symlink_to(version)
    os.replace(folder / "..tmp", folder / "..data")
    if not (folder / "token").is_symlink():
        (folder / "token").symlink_to("..data/token")
    return SecretReference("V", "file", str(folder / "token"))


def test_a_mounted_secret_is_replaced_while_it_is_read(tmp_path):
    """Old or new, never missing: the folder of the old version is removed after the link has moved."""
    reference, seen, stop = mounted(tmp_path, "..0", "value 0"), set(), threading.Event()

    def reads() -> None:
        while not stop.is_set():
            seen.add(FileSecrets().read(reference))

    reader = threading.Thread(target=reads)
    reader.start()
    try:
        for number in range(1, 50):
            mounted(tmp_path, f"..{number}", f"value {number}")
            (tmp_path / "mounted" / f"..{number - 1}" / "token").unlink()
    finally:
        stop.set()
        reader.join()
    assert seen <= {f"value {number}" for number in range(50)}
    assert FileSecrets().read(reference) == "value 49"


def test_a_file_that_goes_away_between_two_looks_is_read_again(tmp_path, monkeypatch):
    reference = mounted(tmp_path, "..0", "value")
    calls = []

    class Flickering(mounted_files.Path):
        _flavour = type(tmp_path)._flavour

        def read_text(self, *given, **named):
            calls.append(self)
            if len(calls) == 1:
                raise FileNotFoundError(2, "No such file or directory")
            return super().read_text(*given, **named)

    monkeypatch.setattr(mounted_files, "Path", Flickering)
    assert FileSecrets().read(reference) == "value"


def test_files_that_cannot_be_read(tmp_path):
    def refused(path) -> str:
        with pytest.raises(SecretMissing) as error:
            FileSecrets().read(SecretReference("PERENNIAL_TOKEN_FILE", "file", str(path)))
        return str(error.value)

    assert "PERENNIAL_TOKEN_FILE" in refused(tmp_path / "none")
    assert "Is a directory" in refused(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert "no UTF-8" in refused(tmp_path / "binary")
    if os.geteuid() != 0:
        (tmp_path / "closed").touch(mode=0)
        with pytest.raises(SecretForbidden):
            FileSecrets().read(SecretReference("V", "file", str(tmp_path / "closed")))


def test_an_empty_secret_is_none(tmp_path, monkeypatch):
    """It would be the address of another database: SQLite instead of the server."""
    (tmp_path / "empty").write_text("\n")
    for name in sorted(SECRETS):
        with monkeypatch.context() as given:
            given.setenv(f"PERENNIAL_{name.upper()}_FILE", str(tmp_path / "empty"))
            if name in MAY_BE_EMPTY:
                load()
                continue
            with pytest.raises(SecretMissing, match=f"PERENNIAL_{name.upper()}_FILE: file:.*: it is empty"):
                load()


def test_no_secret_is_in_the_text_of_the_settings():
    text = repr(Settings(**{name: f"hidden-{name}" for name in SECRETS}))
    assert not [name for name in SECRETS if f"hidden-{name}" in text]
