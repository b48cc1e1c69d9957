"""The log of a split's users: read as it grows, each line once, whatever happens to its files."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.adapters.envoy import user_log
from perennial.adapters.envoy.access_log import BucketCounter
from perennial.adapters.envoy.config import Layout
from perennial.adapters.envoy.split import bucket_weights
from perennial.adapters.envoy.user_log import CHANGED, REMOVED, UserLog
from perennial.core.release.counted.user_buckets import MOST_BUCKETS, LogPosition

SPLIT = "loan/r2/20.00"
LAYOUT = Layout(
    listen=("127.0.0.1", 1),
    admin=None,
    pools={"stable": [("127.0.0.1", 11), ("127.0.0.1", 12)], "canary": [("127.0.0.1", 21)]},
    grpc={"stable": [("127.0.0.1", 13), ("127.0.0.1", 14)], "canary": [("127.0.0.1", 23)]},
)
STABLE, CANARY = "127.0.0.1:11", "127.0.0.1:21"


def line(bucket="canary.7", code=200, tries=1, server=CANARY, **more) -> dict:
    usual = {"split": SPLIT, "grpc": None, "flags": "-", "us": 1500}
    return {**usual, "bucket": bucket, "code": code, "tries": tries, "server": server, **more}


def counted(*lines: dict | bytes) -> dict[str, tuple[int, int, int]]:
    """Return pool.bucket -> requests, errors, latencies."""
    counter = BucketCounter(SPLIT, LAYOUT)
    counter.add(each if isinstance(each, bytes) else json.dumps(each).encode() for each in lines)
    return {
        f"{pool}.{bucket}": (
            counters.requests,
            counters.errors,
            counters.buckets[-1][1] if counters.buckets else 0,
        )
        for pool, buckets in counter.counts().items()
        for bucket, counters in buckets.items()
    }


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        pytest.param(line(), (1, 0, 1), id="an answer"),
        pytest.param(line(tries=2, server=STABLE), (1, 1, 1), id="an error that the champion healed"),
        pytest.param(line(code=500, tries=1), (1, 1, 0), id="an error that nobody tried again"),
        pytest.param(line(flags="UR"), (1, 1, 0), id="an answer that broke off"),
        pytest.param(line(server=STABLE), None, id="no candidate: the champion answered at once"),
        pytest.param(line(code=500, tries=6, server=STABLE), None, id="both pools failed: the request's fault"),
        pytest.param(line(code=422), None, id="refused"),
        pytest.param(line(code=422, tries=2, server=STABLE), (1, 1, 0), id="failed here, refused there"),
        pytest.param(line(code=500, tries=6), (6, 6, 0), id="no champion was healthy: the last try is out of turn"),
        pytest.param(line(code=0, flags="DC"), None, id="the client left"),
        pytest.param(line(code=0, flags="DC", tries=2, server=STABLE), (1, 1, 0), id="left while it was healed"),
        pytest.param(line(code=503, tries=0, server=None), None, id="no server was asked"),
        pytest.param(line(server="127.0.0.1:23", grpc=13), (1, 1, 0), id="a gRPC error"),
        pytest.param(line(server="127.0.0.1:23", grpc=3), None, id="a gRPC call that is refused"),
        pytest.param(line(server="127.0.0.1:23", grpc=0), (1, 0, 1), id="a gRPC answer"),
    ],
)  # fmt: skip
def test_attempts_of_the_candidate_count_for_the_bucket_of_its_user(entry, expected):
    assert counted(entry) == ({} if expected is None else {"canary.7": expected})


@pytest.mark.parametrize(
    ("tries", "server", "code", "expected"),
    [
        (1, STABLE, 200, (1, 0, 1)),
        (2, STABLE, 200, (2, 1, 1)),
        (3, CANARY, 200, (2, 2, 1)),
        (1, CANARY, 200, None),
        (6, STABLE, 500, None),
    ],
)
def test_the_champion_is_tried_twice_before_its_backup(tries, server, code, expected):
    entry = line("stable.3", code, tries, server)
    assert counted(entry) == ({} if expected is None else {"stable.3": expected})


def test_lines_of_other_splits_and_broken_ones_count_nothing():
    counter = BucketCounter(SPLIT, LAYOUT)
    others = [line(split="loan/r2/5.00"), line(split="other/r2/20.00"), line(bucket="else.1")]
    broken = [b'{"buc{"bucket": 1}', b"", b"[]", json.dumps(line(bucket="canary.x")).encode()]
    counter.add([*(json.dumps(entry).encode() for entry in others), *broken])
    assert counter.counts() == {}
    assert counter.broken == len(broken)


def test_latencies_have_the_bounds_of_the_router():
    counter = BucketCounter(SPLIT, LAYOUT)
    counter.add(json.dumps(line(us=us)).encode() for us in (300, 999, 1000, 41_000, 99_000_000))
    (counters,) = counter.counts()["canary"].values()
    assert counters.buckets == ((1.0, 2), (2.0, 3), (40.0, 3), (45.0, 4), (30000.0, 4), (float("inf"), 5))


@given(weight=st.integers(0, 10_000))
@settings(max_examples=50)
def test_buckets_share_a_weight_as_equally_as_whole_numbers_can(weight):
    parts = bucket_weights(weight)
    assert sum(parts) == weight
    assert len(parts) == min(MOST_BUCKETS, weight)
    assert not parts or (min(parts) > 0 and max(parts) - min(parts) <= 1)


class Envoy:
    """Writes as Envoy does: into the file that it has open, until it is asked to open it again."""

    def __init__(self, folder) -> None:
        self.path = folder / "requests.log"
        self.lines = 0
        self.start()

    def start(self) -> None:
        self._file = self.path.open("ab", buffering=0)

    reopen = start

    def write(self, content: bytes | None = None) -> None:
        if content is None:
            self.lines += 1
            content = b"%d\n" % self.lines
        self._file.write(content)


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setattr(user_log, "FILE_BYTES", 4)
    reader = UserLog(tmp_path)
    reader.begin()
    return reader


def read_on(log: UserLog, place: LogPosition) -> tuple[list[int], LogPosition]:
    piece = log.after(place)
    assert not piece.problems
    return [int(text) for text in piece.lines], piece.end


def test_each_line_is_read_once_over_full_files_and_half_lines(log, tmp_path):
    envoy, place, read = Envoy(tmp_path), log.end(), []
    for _ in range(5):
        envoy.write()
        envoy.write()
        some, place = read_on(log, place)
        read += some
        log.keep_small(lambda: None)  # Envoy has not yet opened the new file
        envoy.write()
        some, place = read_on(log, place)
        read += some
        log.keep_small(envoy.reopen)
        envoy.write(b"9")
        some, place = read_on(log, place)
        read += some
        envoy.write(b"9\n")
    assert [number for number in read if number != 99] == list(range(1, 16))
    assert read_on(log, place) == ([99], log.end())


def test_a_pass_that_was_killed_reads_the_same_again(log, tmp_path):
    envoy, place = Envoy(tmp_path), log.end()
    envoy.write()
    first = read_on(log, place)
    envoy.write()
    log.keep_small(envoy.reopen)
    envoy.write()
    assert read_on(log, place) == ([1, 2, 3], log.end())
    assert read_on(log, first[1]) == ([2, 3], log.end())


def test_an_envoy_that_was_killed_in_a_line_loses_that_line_alone(log, tmp_path):
    envoy, place = Envoy(tmp_path), log.end()
    envoy.write()
    envoy.write(b"half")
    log.begin()
    envoy.start()
    envoy.write()
    assert read_on(log, place)[0] == [1, 2]


def test_begin_beside_a_running_envoy_loses_nothing(log, tmp_path):
    """`perennial router init` may be called at any time."""
    envoy, place = Envoy(tmp_path), log.end()
    envoy.write()
    log.begin()
    envoy.write()
    log.keep_small(envoy.reopen)
    envoy.write()
    assert read_on(log, place)[0] == [1, 2, 3]


def test_a_look_is_bounded_and_the_next_goes_on(log, tmp_path, monkeypatch):
    monkeypatch.setattr(user_log, "LOOK_BYTES", 6)
    monkeypatch.setattr(user_log, "LONGEST_LINE", 2)
    envoy, place, read = Envoy(tmp_path), log.end(), []
    for _ in range(9):
        envoy.write()
    for _ in range(5):
        some, place = read_on(log, place)
        read += some
    assert read == list(range(1, 10))


def test_the_log_stays_small_and_says_what_was_removed_unread(log, tmp_path):
    envoy, place = Envoy(tmp_path), log.end()
    for _ in range(20):
        envoy.write()
        envoy.write()
        log.keep_small(envoy.reopen)
    envoy.write()
    assert len(list(tmp_path.glob("requests*.log"))) <= user_log.KEPT + 1
    piece = log.after(place)
    assert piece.problems == (REMOVED,)
    assert int(piece.lines[-1]) == 41
    assert read_on(log, piece.end) == ([], log.end())


def test_a_log_that_was_emptied_by_hand_counts_nothing_twice(log, tmp_path):
    envoy, place = Envoy(tmp_path), log.end()
    for _ in range(4):
        envoy.write()
    place = read_on(log, place)[1]
    envoy.path.write_bytes(b"")
    envoy.write()
    piece = log.after(place)
    assert piece.problems == (CHANGED,)
    assert piece.lines == ()
    assert piece.end == log.end()


def test_only_its_account_may_look_into_the_folder(log, tmp_path):
    assert tmp_path.stat().st_mode & 0o777 == 0o700
