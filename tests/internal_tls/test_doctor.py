"""The doctor over the certificates inside the plant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from inside.certificates import InsideCertificates

from perennial.adapters.internal_ca import leaf_folder, signing
from perennial.adapters.internal_ca.signing import Names
from perennial.core.certificates.roles import ProcessRole, identity
from perennial.local.doctor.finding import State
from perennial.local.doctor.inside import inside as check
from perennial.settings import Settings

DAY = timedelta(days=1)


@pytest.fixture
def inside(tmp_path) -> InsideCertificates:
    made = InsideCertificates(tmp_path / "certificates")
    made.renew()
    return made


def wrong(inside: InsideCertificates) -> dict[str, tuple[State, str]]:
    found = check(inside.settings)
    return {
        finding.check: (finding.state, finding.what) for finding in found if finding.state is not State.OK
    }


def put(
    inside: InsideCertificates, role: ProcessRole, names: Names, begins: datetime, ends: datetime
) -> None:
    pair = signing.sign(inside.signer(), names, begins, ends)
    content = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": inside.trusted()}
    leaf_folder.write(inside.folder / role, content, None)


def test_fresh_certificates_are_in_order_and_without_the_setting_there_is_nothing_to_say(inside, tmp_path):
    assert wrong(inside) == {}
    assert len(list(check(inside.settings))) == len(ProcessRole)
    assert list(check(Settings(home=tmp_path))) == []


def test_each_fault_is_named(inside):
    now = datetime.now(UTC)
    pool = (identity(ProcessRole.POOL),)
    put(inside, ProcessRole.POOL, Names("pool", pool, ("10.0.0.1",), serves=True), now, now + DAY)
    put(inside, ProcessRole.ENVOY, Names("envoy", pool, calls=True), now, now + DAY)
    put(
        inside,
        ProcessRole.AGENT,
        Names("agent", (identity(ProcessRole.AGENT),), calls=True),
        now - 3 * DAY,
        now - DAY,
    )
    put(
        inside,
        ProcessRole.OPERATOR,
        Names("operator", (identity(ProcessRole.OPERATOR),), calls=True),
        now - 8 * DAY,
        now + DAY,
    )
    (inside.folder / "mlflow" / "tls.key").chmod(0o644)
    (inside.folder / "monitor" / "tls.crt").write_text("no certificate")
    (inside.folder / "training" / "..data").unlink()
    for path in (inside.folder / "training").iterdir():
        if path.is_symlink():
            path.unlink()
    found = wrong(inside)
    assert "is no PEM file" in found.pop("inside: monitor")[1]
    assert found == {
        "inside: pool": (State.PROBLEM, "it is not for 127.0.0.1, where its clients ask"),
        "inside: envoy": (State.PROBLEM, "its role is spiffe://perennial/pool, not spiffe://perennial/envoy"),
        "inside: agent": (State.PROBLEM, found["inside: agent"][1]),
        "inside: operator": (State.WARNING, found["inside: operator"][1]),
        "inside: mlflow": (State.PROBLEM, f"others can read {inside.folder / 'mlflow' / 'tls.key'}"),
        "inside": (State.PROBLEM, "no certificate of training"),
    }
    assert "only" in found["inside: agent"][1]
    assert "should have been renewed" in found["inside: operator"][1]


def test_an_announced_authority_is_told(inside):
    inside.renew(next_signs_from=datetime.now(UTC) + DAY)
    assert "new authority is announced" in wrong(inside)["inside"][1]
