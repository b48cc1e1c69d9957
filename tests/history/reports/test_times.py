"""The forms of times and durations that test tools write."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from perennial.history.reports.times import moment, seconds, zone_of

TEN = datetime(2025, 3, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2025-03-01T10:00:00",
        "2025-03-01T10:00:00Z",
        "2025-03-01T11:00:00.000+01:00",
        "2025-03-01T05:00:00-0500",
        "2025-03-01T10:00:00.000000000Z",
        "2025-03-01 10:00:00 +0000",
        "2025-03-01 10:00:00.000 +0000 UTC",
        "2025-03-01T10:00:00 UTC",
        "2025-03-01T11:00:00 Europe/Berlin",
        "2025-03-01T11:00:00+01:00[Europe/Paris]",
        "2025/03/01 10:00:00",
        "2025-3-1 10:00",
        "20250301T100000Z",
        "1 Mar 2025 10:00:00 GMT",
        "01-Mar-2025 10:00:00",
        "Sat, 01 Mar 2025 10:00:00 GMT",
        "Sat, 1 Mar 2025 05:00:00 EST",
        "Sat Mar  1 10:00:00 2025",
        "Sat Mar 01 11:00:00 CET 2025",
        "Sat Mar 01 2025 11:00:00 GMT+0100 (Central European Standard Time)",
        "Mar 1, 2025 10:00:00 AM",
        "3/1/2025, 10:00:00 AM",
        "01.03.2025 10:00:00",
        "1740823200",
        "1740823200.0",
        "1740823200000",
        "1740823200000000",
        "1740823200000000000",
    ],
)
def test_one_moment_in_many_forms(text):
    assert moment(text, UTC)[0] == TEN


@pytest.mark.parametrize(
    "text",
    ["", "soon", "10:00:00", "03/01/2025 10:00:00", "2025-13-01T00:00:00", "2025-02-30 10:00:00", "12345",
     "9" * 20,
     "2025-03-01T10:00:00 CST", "2025-03-01T10:00:00 Mars/Olympus", "13/1/2025 10:00:00 AM",
     "1 Foo 2025 10:00:00", "2025-03-01 25:00:00", "1 Mar 2025 14:00:00 PM", "0001-01-01T00:00:00+14:00"],
)  # fmt: skip
def test_what_is_no_time_or_has_two_meanings_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011
        moment(text, UTC)


def test_the_zone_counts_only_for_times_without_one():
    tokyo = ZoneInfo("Asia/Tokyo")
    assert moment("2025-03-01T19:00:00", tokyo) == (TEN, False)
    assert moment("2025-03-01T10:00:00Z", tokyo) == (TEN, True)
    assert moment("1740823200", tokyo) == (TEN, True)


def test_when_the_clocks_go_back_the_later_hour_is_taken_if_the_earlier_is_too_early():
    berlin = ZoneInfo("Europe/Berlin")
    earlier = moment("2025-10-26T02:50:00", berlin)[0]
    assert earlier == datetime(2025, 10, 26, 0, 50, tzinfo=UTC)
    later = moment("2025-10-26T02:10:00", berlin, not_before=earlier)[0]
    assert later == datetime(2025, 10, 26, 1, 10, tzinfo=UTC)


def test_zones_have_a_name_or_an_offset():
    assert zone_of("Europe/Berlin") == ZoneInfo("Europe/Berlin")
    assert zone_of("+09:00") == timezone(timedelta(hours=9))
    assert zone_of("UTC") == timezone(timedelta(0))
    for name in ("CST", "Europe/Berln", "../etc/passwd", "+99:00", ""):
        with pytest.raises(ValueError):  # noqa: PT011
            zone_of(name)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("1.5", 1.5), ("1,002.5", 1002.5), ("1,234,567", 1234567), ("0,004", 0.004), ("1.002,5", 1002.5), ("0.", 0),
     ("1e-05", 1e-05), ("00:00:01.5", 1.5), ("1.02:00:00", 93600), ("PT1M2.5S", 62.5), ("-1", -1)],
)  # fmt: skip
def test_durations(text, wanted):
    assert seconds(text) == pytest.approx(wanted)


@pytest.mark.parametrize("text", ["", "1s", "PT", "1,2,3", "fast", "9" * 400 + ":00:00", f"PT{'9' * 400}H"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011
        seconds(text)
