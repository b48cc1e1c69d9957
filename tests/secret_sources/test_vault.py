"""Secret settings from a vault: a real OpenBao, with TLS, policies, namespaces and the sign-in of pods."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path

import hvac
import pytest
from serving_stack import free_ports, until
from vaults.openbao import OpenBao
from vaults.token_reviews import ACCOUNT, NAMESPACE, api_server, pod_token

from perennial.cli import main
from perennial.errors import SettingsError
from perennial.local import handed_secrets
from perennial.secret_errors import SecretForbidden, SecretMissing, SecretsUnavailable
from perennial.settings import load

URL = "postgresql+psycopg://perennial:s3cret-of-the-vault@db/perennial"
POLICY = 'path "secret/data/perennial" { capabilities = ["read"] }'


@pytest.fixture(scope="module")
def vault(tmp_path_factory) -> Iterator[OpenBao]:
    server = OpenBao(tmp_path_factory.mktemp("vault"), tls=True)
    try:
        secrets = server.root.secrets.kv.v2
        secrets.create_or_update_secret(
            "perennial", secret={"database_url": URL, "number": 5, "token": "tok"}
        )
        secrets.create_or_update_secret("private", secret={"database_url": URL})
        secrets.create_or_update_secret("deleted", secret={"database_url": URL})
        secrets.delete_latest_version_of_secret("deleted")
        yield server
    finally:
        server.stop()


@pytest.fixture
def signed_in(vault, tmp_path, monkeypatch) -> Path:
    """A token that reads `secret/data/perennial`, and the settings that name it."""
    token = tmp_path / "token"
    token.write_text(vault.token("perennial", POLICY) + "\n")
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PERENNIAL_VAULT_ADDRESS", vault.url)
    monkeypatch.setenv("PERENNIAL_VAULT_CA", str(vault.ca))
    monkeypatch.setenv("PERENNIAL_VAULT_TOKEN_FILE", str(token))
    return token


def named(monkeypatch, place: str) -> None:
    monkeypatch.setenv("PERENNIAL_DATABASE_URL_FROM", f"vault:{place}")


def test_settings_are_read_and_a_new_value_counts_at_the_next_start(vault, signed_in, monkeypatch):
    named(monkeypatch, "secret/data/perennial#database_url")
    monkeypatch.setenv("PERENNIAL_TOKEN_FROM", "vault:secret/data/perennial#token")
    assert (load().database_url, load().token) == (URL, "tok")
    store = vault.root.secrets.kv.v2
    store.patch("perennial", secret={"token": "rotated"})
    assert load().token == "rotated"
    signed_in.write_text(vault.token("perennial", POLICY))
    assert load().token == "rotated"


@pytest.mark.parametrize(
    ("place", "kind", "what"),
    [
        ("secret/data/perennial#nothing", SecretMissing, "no such field"),
        ("secret/data/perennial#number", SecretMissing, "no text"),
        ("secret/data/private#database_url", SecretForbidden, "denies it"),
        ("other/data/perennial#database_url", SecretForbidden, "denies it"),
    ],
)
def test_what_cannot_be_read_names_the_place_and_no_value(signed_in, monkeypatch, capsys, place, kind, what):
    named(monkeypatch, place)
    with pytest.raises(kind, match=what) as refused:
        load()
    assert f"PERENNIAL_DATABASE_URL_FROM: vault:{place}" in str(refused.value)
    text = "".join(traceback.format_exception(refused.value))
    assert "s3cret" not in text
    assert signed_in.read_text().strip() not in text
    assert main(["store", "status"]) == kind.exit_code
    assert what in capsys.readouterr().err


@pytest.mark.parametrize("path", ["deleted", "nowhere"])
def test_a_deleted_secret_and_one_that_never_was(vault, signed_in, monkeypatch, path):
    signed_in.write_text(vault.token("all", 'path "secret/*" { capabilities = ["read"] }'))
    named(monkeypatch, f"secret/data/{path}#database_url")
    with pytest.raises(SecretMissing, match="no such secret, or it was deleted"):
        load()


def test_another_token_is_refused(signed_in, monkeypatch):
    signed_in.write_text("s.unknown")
    named(monkeypatch, "secret/data/perennial#database_url")
    with pytest.raises(SecretForbidden):
        load()


def test_a_certificate_of_nobody_and_a_vault_that_is_down(signed_in, monkeypatch):
    named(monkeypatch, "secret/data/perennial#database_url")
    monkeypatch.delenv("PERENNIAL_VAULT_CA")
    with pytest.raises(SecretsUnavailable, match="SSLError"):
        load()
    (port,) = free_ports(1)
    monkeypatch.setenv("PERENNIAL_VAULT_ADDRESS", f"http://127.0.0.1:{port}")
    with pytest.raises(SecretsUnavailable, match="ConnectionError"):
        load()


def made(client, secret) -> bool:
    """Write a secret; return whether the engine took it: a new one is away for a brief period."""
    try:
        client.secrets.kv.v2.create_or_update_secret(**secret)
    except hvac.exceptions.InvalidRequest:
        return False
    return True


def test_a_namespace(vault, signed_in, monkeypatch):
    vault.root.sys.create_namespace("team")
    inside = vault.client(vault.root.token, "team")
    inside.sys.enable_secrets_engine("kv", path="kv", options={"version": "2"})
    written = {"path": "a/b", "mount_point": "kv", "secret": {"url": "of the namespace"}}
    until(lambda: made(inside, written), 60, "the new engine, which is away for a moment")
    signed_in.write_text(vault.root.token)
    monkeypatch.setenv("PERENNIAL_VAULT_NAMESPACE", "team")
    named(monkeypatch, "kv/data/a/b#url")
    assert load().database_url == "of the namespace"


def test_a_pod_signs_in_as_its_service_account(vault, signed_in, tmp_path, monkeypatch):
    token = tmp_path / "jwt"
    monkeypatch.delenv("PERENNIAL_VAULT_TOKEN_FILE")
    monkeypatch.setenv("PERENNIAL_VAULT_ROLE", "perennial")
    monkeypatch.setenv("PERENNIAL_VAULT_AUTH", "cluster")
    monkeypatch.setenv("PERENNIAL_VAULT_JWT_FILE", str(token))
    named(monkeypatch, "secret/data/perennial#database_url")
    with api_server() as kubernetes:
        vault.root.sys.enable_auth_method("kubernetes", path="cluster")
        sign_in = vault.root.auth.kubernetes
        sign_in.configure(kubernetes, vault.ca.read_text(), token_reviewer_jwt=pod_token("reviewer"),
                          mount_point="cluster", disable_local_ca_jwt=True)  # fmt: skip
        sign_in.create_role(
            "perennial", [ACCOUNT], [NAMESPACE], policies=["perennial"], mount_point="cluster"
        )
        token.write_text(pod_token())
        assert load().database_url == URL
        token.write_text(pod_token("stranger"))
        with pytest.raises(SecretForbidden):
            load()


def test_no_process_gets_the_way_to_the_vault(signed_in, monkeypatch):
    named(monkeypatch, "secret/data/perennial#database_url")
    monkeypatch.setenv("PERENNIAL_VAULT_ROLE", "perennial")
    environment = handed_secrets.base_environment(load())
    assert not [name for name in environment if "VAULT" in name or name.endswith("_FROM")]
    assert "s3cret" not in repr(environment)


@pytest.mark.parametrize("address", ["http://vault.example.com:8200", "http://192.0.2.1:8200"])
def test_plain_http_beyond_this_machine_is_refused(signed_in, monkeypatch, address):
    monkeypatch.setenv("PERENNIAL_VAULT_ADDRESS", address)
    named(monkeypatch, "secret/data/perennial#database_url")
    with pytest.raises(SettingsError, match="would read the secrets"):
        load()
