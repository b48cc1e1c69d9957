"""Times and durations in the forms that test tools write.

Times: ISO 8601 (also with a space, nanoseconds, a zone name or Java's `[Europe/Paris]`), RFC 2822, Ruby's and
Go's `2025-03-01 10:00:00 +0000`, ctime and Java's `Date`, JavaScript's `toString`, the American form with AM or PM,
the German form with dots, and seconds, milliseconds, microseconds or nanoseconds since 1970. A form whose day and
month could be exchanged is not read.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
ABBREVIATIONS = {
    "Z": 0, "UT": 0, "UTC": 0, "GMT": 0, "WET": 0, "BST": 1, "WEST": 1, "CET": 1, "CEST": 2, "MEZ": 1, "MESZ": 2,
    "EET": 2, "EEST": 3, "MSK": 3, "JST": 9, "KST": 9, "EDT": -4, "EST": -5, "CDT": -5, "MDT": -6, "MST": -7,
    "PDT": -7, "PST": -8,
}  # fmt: skip
"""Hours ahead of UTC. CST and IST are left out: each has several meanings."""

CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,:](?P<fraction>\d+))?)?\s*(?P<half>[AaPp][Mm])?"
ZONE = r"\s*(?P<zone>.*)"
FORMS = [
    re.compile(rf"(?P<year>\d{{4}})[-/.](?P<month>\d{{1,2}})[-/.](?P<day>\d{{1,2}})[T,_ ]+{CLOCK}{ZONE}"),
    re.compile(rf"(?P<year>\d{{4}})(?P<month>\d\d)(?P<day>\d\d)[T ](?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)"
               rf"(?:[.,](?P<fraction>\d+))?(?P<half>){ZONE}"),
    re.compile(rf"(?:[A-Za-z]{{3,9}},?\s+)?(?P<day>\d{{1,2}})[\s-](?P<name>[A-Za-z]{{3,9}})[\s-](?P<year>\d{{4}}),?"
               rf"\s+{CLOCK}{ZONE}"),
    re.compile(rf"(?:[A-Za-z]{{3,9}},?\s+)?(?P<name>[A-Za-z]{{3,9}})\s+(?P<day>\d{{1,2}}),?\s+(?P<year>\d{{4}}),?"
               rf"\s+(?:at\s+)?{CLOCK}{ZONE}"),
    re.compile(rf"[A-Za-z]{{3}}\s+(?P<name>[A-Za-z]{{3}})\s+(?P<day>\d{{1,2}})\s+{CLOCK}\s+(?P<zone>.*?)\s*"
               rf"(?P<year>\d{{4}})"),
    re.compile(rf"(?P<day>\d{{1,2}})\.(?P<month>\d{{1,2}})\.(?P<year>\d{{4}}),?\s+{CLOCK}{ZONE}"),
    # Only with AM or PM are month and day in the American order.
    re.compile(rf"(?P<month>\d{{1,2}})/(?P<day>\d{{1,2}})/(?P<year>\d{{4}}),?\s+{CLOCK}(?<=[mM]){ZONE}"),
]  # fmt: skip
OFFSET = re.compile(
    r"(?:UTC|GMT)?\s*([+-])(\d{1,2}):?(\d{2})?(?::?(\d{2}))?(?:\s*[A-Z]{1,5}|\s*\(.*\)|\s*\[.*\])?"
)
EPOCH_UNITS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9))
"""Below this number: divided by this to give seconds since 1970 (until the year 5138)."""
CLOCK_DURATION = re.compile(r"(?:(\d+)\.)?(\d+):(\d{1,2}):(\d{1,2}(?:[.,]\d+)?)")
ISO_DURATION = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?")
THOUSANDS = re.compile(r"[1-9]\d{0,2}(,\d{3})+(\.\d*)?")


def zone_of(name: str) -> tzinfo:
    """Return the zone of an IANA name, an abbreviation such as CET, or an offset such as +09:00.

    Raises:
        ValueError: there is no such zone.
    """
    if name.upper() in ABBREVIATIONS:
        return timezone(timedelta(hours=ABBREVIATIONS[name.upper()]))
    if match := OFFSET.fullmatch(name):
        sign, hours, minutes, seconds = match.groups()
        offset = timedelta(hours=int(hours), minutes=int(minutes or 0), seconds=int(seconds or 0))
        return timezone(-offset if sign == "-" else offset)
    name = name.strip("[]() ")
    # A lone abbreviation such as CST is a file of the zone database as well, but has several meanings.
    if "/" not in name:
        raise ValueError(f"there is no zone {name!r}")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"there is no zone {name!r}") from error


def moment(text: str, zone: tzinfo, not_before: datetime | None = None) -> tuple[datetime, bool]:
    """Return a time in UTC, and whether the text named its zone.

    Args:
        zone: zone of a text that names none.
        not_before: see `ReadOptions`.

    Raises:
        ValueError: it is no time, or one that cannot be expressed in UTC.
    """
    text = text.strip()
    try:
        at, own = _parsed(text)
        if own is None and at.tzinfo is None:
            first = at.replace(tzinfo=zone).astimezone(UTC)
            if not_before is not None and first < not_before:
                first = at.replace(tzinfo=zone, fold=1).astimezone(UTC)
            return first, False
        return (at if own is None else at.replace(tzinfo=own)).astimezone(UTC), True
    except OverflowError as error:
        raise ValueError(str(error)) from error


def _parsed(text: str) -> tuple[datetime, tzinfo | None]:
    # fromisoformat takes 20250301 as a date, but so may be a number of seconds; a stamp has separators.
    if text[4:5] == "-":
        try:
            return datetime.fromisoformat(text), None
        except ValueError:
            pass
    if re.fullmatch(r"\d{9,19}(\.\d{1,9})?", text):
        number = float(text)
        return datetime.fromtimestamp(number / next(by for top, by in EPOCH_UNITS if number < top), UTC), None
    for form in FORMS:
        if match := form.fullmatch(text):
            return _built(match.groupdict())
    raise ValueError(f"{text!r} is no known form of a time")


def _built(part: dict[str, str | None]) -> tuple[datetime, tzinfo | None]:
    named = (part.get("name") or "")[:3].lower()
    month = MONTHS.index(named) + 1 if named else int(part["month"] or 0)
    hour = int(part["hour"] or 0)
    if part["half"]:
        if not 1 <= hour <= 12:
            raise ValueError(f"hour {hour} with {part['half']}")
        hour = hour % 12 + (12 if part["half"].lower() == "pm" else 0)
    micros = int(((part["fraction"] or "") + "000000")[:6])
    zone = (part["zone"] or "").strip()
    day, minute, second = (int(part[name] or 0) for name in ("day", "minute", "second"))
    at = datetime(int(part["year"] or 0), month, day, hour, minute, second, micros)  # noqa: DTZ001  its zone follows
    return at, zone_of(zone) if zone else None


def seconds(text: str) -> float:
    """Return a duration: seconds (with thousands commas or a decimal comma), [d.]hh:mm:ss, or ISO 8601.

    Raises:
        ValueError: it is no duration; a negative number is returned as it is.
    """
    try:
        return _seconds(text.strip())
    except OverflowError as error:
        raise ValueError(str(error)) from error


def _seconds(text: str) -> float:
    if match := CLOCK_DURATION.fullmatch(text):
        days, hours, minutes, rest = match.groups()
        return (int(days or 0) * 24 + int(hours)) * 3600 + int(minutes) * 60 + float(rest.replace(",", "."))
    if len(text) > 2 and (match := ISO_DURATION.fullmatch(text)):
        hours, minutes, rest = match.groups()
        return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(rest or 0)
    if "," not in text:
        return float(text)
    if THOUSANDS.fullmatch(text):
        return float(text.replace(",", ""))
    if text.count(",") == 1:  # 0,004 or 1.002,5 of a machine with a decimal comma
        return float(text.replace(".", "").replace(",", "."))
    raise ValueError(f"{text!r} is no number of seconds")
