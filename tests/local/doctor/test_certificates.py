"""`perennial doctor` reads the certificate: validity, names, key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

YEAR = timedelta(days=365)


def certificate(
    folder: Path, begins: timedelta, ends: timedelta, *names: x509.GeneralName
) -> dict[str, Path]:
    """Write a certificate that is valid between two times from now, and its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "plant")])
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(1).not_valid_before(now + begins).not_valid_after(now + ends)
        .add_extension(x509.SubjectAlternativeName(names), critical=False).sign(key, hashes.SHA256())
    )  # fmt: skip
    folder.mkdir()
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    (folder / "key.pem").chmod(0o600)
    return {"tls_cert": folder / "cert.pem", "tls_key": folder / "key.pem"}


LOCAL, ELSEWHERE = x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("*.example.org")


@pytest.mark.parametrize(
    ("begins", "ends", "names", "states"),
    [
        (-YEAR, YEAR, [LOCAL], ("ok", "ok")),
        (-YEAR, timedelta(days=3), [LOCAL, ELSEWHERE], ("warning", "ok")),
        (-YEAR, timedelta(days=-1), [LOCAL], ("problem", "ok")),
        (timedelta(days=1), YEAR, [LOCAL], ("problem", "ok")),
        (-YEAR, YEAR, [ELSEWHERE], ("ok", "problem")),
    ],
    ids=["good", "soon", "ended", "not-yet", "other-name"],
)
def test_a_certificate(home, given, doctor, tmp_path, begins, ends, names, states):
    given(**certificate(tmp_path / "tls", begins, ends, *names))
    rows = doctor()
    assert (rows["certificate"]["state"], rows["certificate name"]["state"]) == states
    assert rows["certificate key"]["state"] == "ok"
    assert all(row["fix"] for row in (rows["certificate"], rows["certificate name"]) if row["state"] != "ok")


def test_a_key_of_another_certificate(home, given, doctor, tmp_path):
    given(**certificate(tmp_path / "one", -YEAR, YEAR, LOCAL))
    given(tls_key=certificate(tmp_path / "other", -YEAR, YEAR, LOCAL)["tls_key"])
    assert "is not the key of" in doctor()["certificate key"]["what"]
