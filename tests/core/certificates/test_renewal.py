"""Which authority signs and which are trusted, day by day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from perennial.core.certificates.renewal import Authority, Validity, leaf_end, plan
from perennial.core.certificates.roles import CALLERS, ProcessRole, of_process

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
LEAF = 7 * DAY


def authority(name: str, day: float, signs: float) -> Authority:
    begins = START + day * DAY
    return Authority(name, Validity(begins, begins + 365 * DAY), START + signs * DAY)


OLD, NEW = authority("old", 0, 0), authority("new", 250, 257)


@pytest.mark.parametrize(
    ("day", "known", "signer", "trusted", "dropped", "make"),
    [
        (0, (), None, "", "", True),
        (1, (OLD,), "old", "old", "", False),
        (244, (OLD,), "old", "old", "", True),  # two thirds of a year
        (251, (OLD, NEW), "old", "old new", "", False),
        (257, (OLD, NEW), "new", "old new", "", False),
        (263, (NEW, OLD), "new", "old new", "", False),
        (264, (OLD, NEW), "new", "new", "old", False),  # no certificate of the old one is valid any more
        (370, (OLD, NEW), "new", "new", "old", False),
        (400, (OLD,), None, "", "old", True),  # nobody has renewed for a year
        (100, (NEW,), None, "new", "", True),  # one that signs later is no help now
    ],
)
def test_an_authority_is_trusted_before_it_signs_and_after_it_has(day, known, signer, trusted, dropped, make):
    planned = plan(known, START + day * DAY, LEAF)
    assert (planned.signer and planned.signer.name) == signer
    assert [one.name for one in planned.trusted] == trusted.split()
    assert [one.name for one in planned.dropped] == dropped.split()
    assert planned.make is make


def test_whoever_signed_a_valid_certificate_is_trusted():
    """Renewed daily for three years, a certificate of any day is trusted as long as it is valid."""
    known = [OLD, NEW, authority("third", 500, 507), authority("fourth", 750, 757)]
    for day in range(1100):
        now = START + day * DAY
        trusted = plan(known, now, LEAF).trusted
        for earlier in (now - age * DAY for age in range(8)):
            signer = plan(known, earlier, LEAF).signer
            if signer is not None and leaf_end(earlier, LEAF, signer.validity) > now:
                assert signer in trusted


def test_a_certificate_is_renewed_in_its_last_third_and_never_outlives_its_authority():
    validity = Validity(START, START + 6 * DAY)
    assert not validity.due(START + 3.9 * DAY)
    assert validity.due(START + 4 * DAY)
    assert leaf_end(START, LEAF, validity) == validity.ends


def test_a_pool_answers_envoy_and_no_other_server():
    assert ProcessRole.ENVOY in CALLERS[ProcessRole.POOL]
    assert not {ProcessRole.POOL, ProcessRole.MLFLOW, ProcessRole.MONITOR} & CALLERS[ProcessRole.POOL]
    assert ProcessRole.ENVOY not in CALLERS[ProcessRole.MLFLOW] | CALLERS[ProcessRole.AIRFLOW]


@pytest.mark.parametrize(
    ("process", "role"),
    [
        ("server-stable-3101", "pool"), ("airflow-triggerer", "airflow"), ("envoy", "envoy"), ("guard", "agent"),
        ("agent", "agent"), ("training", "training"), ("mlflow", "mlflow"), ("monitor", "monitor"),
    ],
)  # fmt: skip
def test_each_process_has_a_role(process, role):
    assert of_process(process) == role
