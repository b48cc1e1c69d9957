"""What a router counted between two looks, also when it began anew in between."""

from __future__ import annotations

from perennial.core.release.traffic import Counters

INF = float("inf")


def counted(requests: int, errors: int = 0, fast: int | None = None) -> Counters:
    buckets = ((10.0, requests if fast is None else fast), (INF, requests))
    return Counters(requests=requests, errors=errors, buckets=buckets)


def test_what_came_on_top():
    assert counted(150, 4, fast=120).since(counted(100, 1, fast=90)) == counted(50, 3, fast=30)
    assert counted(100).since(Counters()) == counted(100)


def test_after_a_restart_everything_is_new():
    """Told by successes or a bucket, though other counts are beyond what they were."""
    assert counted(50, 6).since(counted(100)) == counted(50, 6)
    assert counted(120, 60).since(counted(100)) == counted(120, 60)
    assert counted(120, fast=20).since(counted(100)) == counted(120, fast=20)
    assert Counters().restarted(counted(1))


def test_an_error_that_is_taken_back_is_no_restart():
    """An attempt that found nobody listening counts as an error for a moment."""
    later = Counters(requests=99, errors=0, buckets=counted(100).buckets)
    assert not later.restarted(counted(100, 1))
    assert later.since(counted(100, 1)).requests == 0


def test_sum_keeps_the_latencies():
    both = counted(100, 1, fast=40).plus(counted(300, 2, fast=60))
    assert both == counted(400, 3, fast=100)
    assert counted(3, fast=1).plus(Counters()) == counted(3, fast=1)
    assert Counters(requests=1, buckets=((5.0, 1), (INF, 1))).plus(counted(2, fast=0)).buckets == (
        (5.0, 1),
        (10.0, 1),
        (INF, 3),
    )


def test_latency_evidence_leaves_out_refusals_and_lost_requests():
    """Fast 4xx diluted the p95: with 900 of them a version of 100 answers looked ten times as fast."""
    mixed = Counters(
        requests=1000, refused=900, lost=10, buckets=((1.0, 900), (50.0, 980), (5000.0, 1000), (INF, 1000))
    )
    kept = mixed.evidence()
    assert kept.buckets == ((1.0, 0), (50.0, 80), (5000.0, 90), (INF, 90))
    assert mixed.latency_ms(0.85) < 1.0
    assert kept.latency_ms(0.85) > 40.0
    assert Counters(requests=2, refused=5, buckets=((1.0, 2), (INF, 2))).evidence().buckets == (
        (1.0, 0),
        (INF, 0),
    )


def test_an_error_is_excused_once():
    failed = Counters(requests=10, errors=4, excused=1)
    assert failed.excused_as(Counters(lost=2)).evidence().errors == 1
    assert failed.excused_as(Counters(lost=9)).evidence() == Counters(requests=6)
