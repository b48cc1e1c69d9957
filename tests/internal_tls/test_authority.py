"""The authority in a folder: what it writes, again and again, and over a change of its key."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from inside.certificates import InsideCertificates

from perennial.adapters.internal_ca import signing
from perennial.adapters.internal_ca.signing import Names
from perennial.adapters.tls_certificates import read_certificates
from perennial.core.certificates.roles import ProcessRole, identity
from perennial.errors import SettingsError
from perennial.settings import Settings
from perennial.wiring import certificates


@pytest.fixture
def inside(tmp_path) -> InsideCertificates:
    return InsideCertificates(tmp_path / "certificates")


def contents(inside: InsideCertificates) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(inside.folder.glob("[!a]*/*")) if path.is_file()}


def test_every_role_gets_a_certificate_and_a_second_renewal_changes_nothing(inside):
    assert len(inside.renew()) == 1 + len(ProcessRole)
    before = contents(inside)
    assert inside.renew() == []
    assert contents(inside) == before
    for role in ProcessRole:
        leaf = x509.load_pem_x509_certificate((inside.folder / role / "tls.crt").read_bytes())
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.UniformResourceIdentifier) == [identity(role)]
    for path in inside.folder.rglob("*"):
        if path.is_file():
            assert path.stat().st_mode & 0o077 == 0, path


def test_what_is_due_or_damaged_is_renewed_and_nothing_else(inside):
    inside.renew(days_ago=3)
    serials = {role: inside.serial(role) for role in ProcessRole}
    (inside.folder / "pool" / "tls.key").write_bytes((inside.folder / "envoy" / "tls.key").read_bytes())
    assert [line.partition(":")[0] for line in inside.renew()] == ["pool"]
    assert {role for role in ProcessRole if inside.serial(role) != serials[role]} == {ProcessRole.POOL}
    later = InsideCertificates(inside.folder)
    assert len(later.renew(days_ago=-2)) == len(ProcessRole) - 1  # five days old; that of the pool is younger


def test_hosts_and_roles_are_remembered(inside):
    settings, authority, now = inside.settings, inside.authority, datetime.now(UTC)
    asked = {"mlflow": ("mlflow.internal",), "postgres": ("10.0.0.5", "db.internal")}
    names = certificates.wanted(settings, authority, asked, ("perennial",))
    authority.renew(names, now, timedelta(days=7))
    assert "mlflow.internal" in authority.hosts_of("mlflow", names["mlflow"])
    assert authority.hosts_of("server-postgres", names["server-postgres"]) == {"10.0.0.5", "db.internal"}
    leaf = x509.load_pem_x509_certificate((inside.folder / "database-perennial" / "tls.crt").read_bytes())
    assert leaf.subject.rfc4514_string() == "CN=perennial"
    assert inside.renew() == []
    assert len(inside.renew(days_ago=-6)) == len(ProcessRole) + 2


def test_no_process_gets_hosts_by_what_it_writes_into_its_own_folder(inside):
    settings, authority, now = inside.settings, inside.authority, datetime.now(UTC)
    asked = {"mlflow": ("mlflow.internal",)}
    authority.renew(certificates.wanted(settings, authority, asked, ()), now, timedelta(days=7))
    stranger = signing.make_authority("stranger", now, now + timedelta(days=7))
    names = Names(identity(ProcessRole.POOL), (identity(ProcessRole.POOL),), ("db.internal",), serves=True)
    forged = signing.sign(stranger, names, now, now + timedelta(days=7))
    own = inside.folder / "pool" / "tls.crt"
    for text in (forged.certificate, inside.pair(ProcessRole.MLFLOW).certificate, b"no certificate"):
        own.write_bytes(text)
        assert [line.partition(":")[0] for line in inside.renew()] == ["pool"]
        assert read_certificates(own)[0].names == {"127.0.0.1", "::1", "localhost"}
    assert "mlflow.internal" in read_certificates(inside.folder / "mlflow" / "tls.crt")[0].names


def test_no_process_is_a_role_of_the_database(inside):
    names = certificates.wanted(inside.settings, inside.authority, {}, ("airflow",))
    inside.authority.renew(names, datetime.now(UTC), timedelta(days=7))
    subjects = {
        path.parent.name: read_certificates(path)[0].subject for path in inside.folder.glob("*/tls.crt")
    }
    assert subjects.pop("database-airflow") == "CN=airflow"
    assert set(subjects.values()) == {f"CN={identity(role)}" for role in ProcessRole}


def test_a_certificate_of_a_clock_that_was_ahead_is_made_anew(inside):
    inside.renew()
    inside.renew(days_ago=-6)
    assert len(inside.renew()) == len(ProcessRole)


def test_a_new_authority_is_trusted_at_once_and_the_one_before_until_nobody_needs_it(inside):
    start = datetime.now(UTC)

    def on(day: float) -> int:
        names = certificates.wanted(inside.settings, inside.authority, {}, ())
        inside.authority.renew(
            names, start + timedelta(days=day), timedelta(days=7), settle=timedelta(days=7)
        )
        return len(x509.load_pem_x509_certificates(inside.trusted()))

    def issuer() -> str:
        leaf = (inside.folder / "pool" / "tls.crt").read_bytes()
        return x509.load_pem_x509_certificate(leaf).issuer.rfc4514_string()

    assert on(0) == 1
    first = issuer()
    assert (on(240), issuer()) == (1, first)
    assert (on(244), issuer()) == (2, first)
    assert (on(250), issuer()) == (2, first)
    assert on(251) == 2
    assert issuer() != first
    assert (on(257), on(258)) == (2, 1)


def test_the_key_of_the_authority_may_be_elsewhere(inside):
    inside.renew()
    for path in inside.folder.glob("authority/*/ca.key"):
        path.unlink()
    with pytest.raises(SettingsError, match=r"ca\.key"):
        inside.renew(days_ago=-6)


def test_a_half_written_renewal_is_finished_by_the_next(inside):
    inside.renew()
    folder = inside.folder / "pool"
    (folder / "..abandoned").mkdir()
    (folder / "..data").unlink()
    inside.renew()
    assert {path.name for path in folder.glob("..*")} == {"..data", os.readlink(folder / "..data")}
    assert inside.renew() == []


def test_a_folder_that_a_backup_would_copy_is_refused(tmp_path):
    wrong = Settings(home=tmp_path, internal_tls=tmp_path / "keys")
    with pytest.raises(SettingsError, match="PERENNIAL_INTERNAL_TLS is"):
        certificates.authority(wrong)
