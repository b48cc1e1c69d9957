"""The log as the monitor follows it gives what a read of the whole log gives, whatever happens between two looks."""

from __future__ import annotations

import os
from copy import deepcopy
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from doubles.answers import RANKING, START, answered
from doubles.detectors import MemoryDetectors
from doubles.growing import watched
from doubles.releases import MemoryFeedback
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perennial import catalog
from perennial.core.governance.reviews import ForgottenComments, Review
from perennial.core.monitoring_spec import MonitoringSpec
from perennial.flows.feedback.votes import known_labels, quality, votes
from perennial.flows.monitoring.following.watched_log import WatchedLog
from perennial.flows.monitoring.harm import harm_seen
from perennial.flows.monitoring.window import LOOK_BACK, window_of
from perennial.serving.following import growing
from perennial.serving.following.growing import GrowingPredictionLog
from perennial.serving.prediction_archive import PredictionArchive
from perennial.serving.prediction_log import PredictionLogWriter
from perennial.serving.prediction_log_reader import PredictionLogReader
from perennial.settings import Settings

SHIPPED = catalog.spec("test_failure_predictor", Settings(spec_overlay=None))
SMALL = {
    "window": 12,
    "min_window": 5,
    "request_rows": 3,
    "client_share": 0.5,
    "label_delay": timedelta(days=2),
}
FEEDBACK = SHIPPED.release.feedback.model_copy(update={"sole_source": None, "reviews": True})
SPEC = SHIPPED.model_copy(
    update={
        "name": "m",
        "release": SHIPPED.release.model_copy(update={"feedback": FEEDBACK}),
        "monitoring": MonitoringSpec.model_validate({**SHIPPED.monitoring.model_dump(), **SMALL}),
    }
)
OWN, OTHER = "d" * 64, "e" * 64
RNG = np.random.default_rng(3)
REFERENCE = pd.DataFrame(
    {"score": RNG.random(400), "failed": (RNG.random(400) < 0.3).astype(int), "cycle": np.arange(400) // 10}
)


class Killed(Exception):
    pass


def raise_killed(*_) -> None:
    raise Killed


class World:
    """Servers that log, an archive, labels, a monitor that follows the log and one that reads all of it each time."""

    def __init__(self, folder) -> None:
        self.folder, self.now = folder, START
        self.servers = [PredictionLogWriter(folder, "stable", name) for name in ("w0", "w1")]
        self.archive, self.reader = PredictionArchive(folder), PredictionLogReader(folder)
        self.labels, self.ids = MemoryFeedback(), []
        self.copy = deepcopy(self.labels)
        self.followed, self.read = MemoryDetectors(), MemoryDetectors()
        self.count = self.touched = 0
        self.start()

    def start(self) -> None:
        """Start the monitor: all that it has is what the database kept."""
        self.log = WatchedLog(GrowingPredictionLog(self.folder))

    def answer(self, server, days, minute, rows, request, client, digest, shadow, known) -> None:
        """Log a request at any time: late, out of order, or by a clock that is ahead."""
        self.count += 1
        at = START + timedelta(days=days, minutes=minute, microseconds=self.count)
        ids = [f"{self.count:030x}{place:02x}" for place in range(rows)]
        features = np.full((rows, 2), self.count if known else np.nan, dtype=np.float32)
        wanted = SimpleNamespace(model="m", version="1.0.0", digest=digest, capsule="c")
        version = SimpleNamespace(wanted=wanted, manifest=SimpleNamespace(features=("a", "b"), task=RANKING))
        self.servers[server].append(
            answered(
                at, rows=rows, ids=ids, features=features, version=version, request_id=f"q{request or self.count}",
                client=client, shadow=shadow, scores=np.full(rows, (self.count % 10) / 10, dtype=np.float32),
                decisions=[int(self.count % 10 >= 5)] * rows,
            )
        )  # fmt: skip
        self.ids += ids

    def label(self, source, place, value, hours) -> None:
        """Store a label, perhaps of a prediction that nobody made, or again, or with a time that is off."""
        name = self.named(place)
        self.labels.put({name: value}, self.now + timedelta(hours=hours), source, {name: "m"})

    def review(self, source, place, value, hours) -> None:
        """Store what a person says of an answer, perhaps once more, or against what the person said before."""
        name, verdict = self.named(place), "reject" if value is None else "modify"
        review = Review(prediction_id=name, verdict=verdict, value=value, comment="why", consent=True)
        self.labels.put_reviews([(review, value)], self.now + timedelta(hours=hours), source, {name: "m"})

    def forget(self, source) -> None:
        """Delete the comments of a source; its labels stay."""
        self.labels.forget_comments(ForgottenComments(source=source, prediction=None, until=self.now))

    def back_up(self) -> None:
        self.copy = deepcopy(self.labels)

    def restore(self) -> None:
        """Put an earlier copy of the database in place of the one that the monitor has read."""
        self.labels = deepcopy(self.copy)
        self.look(0)

    def named(self, place) -> str:
        return self.ids[-1 - place] if place < len(self.ids) else f"unknown{place}"

    def tidy(self, hours, keep) -> None:
        """Seal, merge and prune; the folders look old, as they do seconds later."""
        self.archive.tidy("m", self.now + timedelta(hours=hours), keep)
        for path in (self.folder / "m").glob("day=*"):
            self.touched += 1
            os.utime(path, ns=(self.touched, self.touched))

    def tear(self, server) -> None:
        """Leave a line that is no request, and a torn one in the file of a server that was killed."""
        path = self.folder / "m" / f"{START:%Y%m%dT%H}-torn{self.count}-{server}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"no request\n" + b'{"at": 1')

    def fail(self, after) -> None:
        """A look that ends in the middle of what it takes, as when object storage does not answer."""
        grown = self.log._log.grown

        def failing(model, since, place, taker):
            left = [after]

            def take(rows):
                if not left[0]:
                    raise Killed
                left[0] -= 1
                taker.take(rows)

            grown(model, since, place, SimpleNamespace(take=take, needs_before=taker.needs_before))
            raise Killed

        self.log._log.grown = failing
        with pytest.raises(Killed):
            self.seen(self.log, self.followed)
        self.log._log.grown = grown

    def lose_labels(self) -> None:
        """The database goes away between two of its answers to a look."""
        if self.log.catch_up(SPEC, self.now) is None:
            return
        asked, self.labels.reviewed_of = self.labels.reviewed_of, raise_killed
        with pytest.raises(Killed):
            self.log.votes(SPEC, self.labels)
        self.labels.reviewed_of = asked

    def look(self, minutes) -> None:
        """Compare what both monitors see and store."""
        self.now += timedelta(minutes=minutes)
        window = self.seen(self.log, self.followed)
        assert self.followed.kept == self.read.kept
        rows = self.reader.read("m", self.now - LOOK_BACK[-1])
        own = rows[(rows["digest"] == OWN) & ~rows["shadow"].astype(bool)]
        whole = window_of(own, SPEC.monitoring)
        assert (window.requests, window.unknown) == (whole.requests, whole.unknown)
        columns = [*window.rows.columns]
        pd.testing.assert_frame_equal(window.rows, whole.rows.reindex(columns=columns), check_dtype=False)
        self.compare_labels(own, window.rows)

    def compare_labels(self, own, window) -> None:
        """Compare the labels of what is in memory with those of a whole read."""
        labels, followed = known_labels(FEEDBACK, self.labels), self.log.votes(SPEC, self.labels)
        state = self.followed.kept["m"][1]
        rows = self.log.followed("m").unjudged(state.until)
        whole = own[own["at"] >= state.until]
        known = quality(whole, labels, FEEDBACK)["right"] if len(whole) else pd.Series(dtype=float)
        read = dict(zip(rows["prediction_id"], followed.values(rows), strict=True))
        assert {name: value for name, value in read.items() if not np.isnan(value)} == known.to_dict()
        columns = ["prediction_id", "source", "value"]
        told, every = followed.about(window), votes(labels)
        every = every[every["prediction_id"].isin(window["prediction_id"])]
        assert sorted(told[columns].itertuples(index=False)) == sorted(every.itertuples(index=False))
        assert len(followed._known()) <= 3 * (2 * self.log.followed("m").count + 1)

    def seen(self, log, detectors):
        state = harm_seen(SPEC, OWN, REFERENCE, detectors, log, self.labels, self.now, 1.0)
        harm_seen(SPEC, OWN, REFERENCE, self.read, watched(self.reader), self.labels, self.now, 1.0)
        return log.rows(SPEC, OWN, state.until, self.now).window(self.now)


STEP = st.one_of(
    st.tuples(
        st.just("answer"), st.integers(0, 1), st.sampled_from([-32, -29, -3, -1, 0, 0, 0, 1]), st.integers(0, 200),
        st.integers(1, 4), st.sampled_from([None, None, 1, 2]), st.sampled_from([None, "x", "x", "y"]),
        st.sampled_from([OWN, OWN, OWN, OTHER]), st.sampled_from([False, False, True]),
        st.sampled_from([True, True, False]),
    ),
    st.tuples(
        st.just("label"), st.sampled_from(["ci", "nurse"]), st.integers(0, 60), st.sampled_from([0.0, 1.0]),
        st.sampled_from([0, 0, -30, 3]),
    ),
    st.tuples(
        st.just("label"), st.sampled_from(["ci", "nurse"]), st.integers(0, 12), st.sampled_from([0.0, 1.0]),
        st.just(0),
    ),
    st.tuples(
        st.just("review"), st.sampled_from(["ann", "ci"]), st.integers(0, 12), st.sampled_from([None, 0.0, 1.0]),
        st.sampled_from([0, 0, -30, 3]),
    ),
    st.tuples(st.just("forget"), st.just("ann")),
    st.tuples(st.sampled_from(["back_up", "restore", "lose_labels"])),
    st.tuples(st.just("tidy"), st.sampled_from([0, 2, 30, 80]), st.sampled_from([None, None, timedelta(days=2)])),
    st.tuples(st.just("tear"), st.integers(0, 1)),
    st.tuples(st.just("fail"), st.integers(0, 2)),
    st.tuples(st.just("start")),
    st.tuples(st.just("look"), st.sampled_from([0, 1, 90, 3000])),
)  # fmt: skip


@settings(
    max_examples=examples(100), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(st.lists(STEP, min_size=5, max_size=60))
def test_what_is_followed_is_what_a_whole_read_gives(tmp_path_factory, steps):
    world = World(tmp_path_factory.mktemp("log"))
    for name, *arguments in steps:
        getattr(world, name)(*arguments)
    world.look(1)
    world.start()
    world.look(0)


def busy(world, requests, first=0) -> None:
    for number in range(first, first + requests):
        world.answer(number % 2, 0, number, 2, None, None, OWN, False, True)


def test_a_look_parses_only_what_came_since_the_last(tmp_path, monkeypatch):
    world, parsed = World(tmp_path), []
    real = growing.request_of
    monkeypatch.setattr(growing, "request_of", lambda line: parsed.append(line) or real(line))
    monkeypatch.setattr(growing, "sealed", Counted(parsed))
    busy(world, 60)
    world.look(0)
    assert len(parsed) == 60
    world.look(1)
    busy(world, 1, 60)
    world.look(1)
    assert len(parsed) == 61
    for hours in (3, 60):  # sealed, then merged
        world.tidy(hours, None)
        world.look(1)
    assert len(parsed) == 61
    world.start()
    world.look(1)
    assert len(parsed) == 62, "a monitor that starts reads the segment of the day"


class Counted:
    """The module of the sealed segments; what is read of them is counted."""

    def __init__(self, read) -> None:
        self.read = read

    def pieces(self, source, since):
        self.read.append(source)
        return growing_sealed.pieces(source, since)

    def __getattr__(self, name):
        return getattr(growing_sealed, name)


growing_sealed = growing.sealed


def test_what_is_kept_is_bounded_by_the_window_and_the_delay_of_labels(tmp_path):
    world = World(tmp_path)
    busy(world, 600)
    world.now += timedelta(days=3)  # all labels would have come
    world.look(0)
    kept = world.log._followed["m"].rows
    assert sum(map(len, kept._window)) <= 2 * SPEC.monitoring.window
    world.look(0)
    assert sum(map(len, kept._open)) == 0


def test_a_start_reads_no_more_days_than_the_window_needs(tmp_path, monkeypatch):
    world, read = World(tmp_path), []
    for days in (-5, -4, -3, -2):
        for number in range(20):
            world.answer(0, days, number, 1, None, None, OWN, False, True)
    world.tidy(10, None)
    monkeypatch.setattr(growing, "sealed", Counted(read))
    world.log.rows(SPEC, OWN, None, world.now)
    assert [path.parent.name for path in read] == ["day=2026-02-27"]


def test_requests_of_one_file_come_in_order_of_their_time_and_in_few_parts(tmp_path):
    world = World(tmp_path)
    for minute in (20, 5, 12):
        world.answer(0, 0, minute, 2, None, None, OWN, False, True)
    world.look(0)
    rows = world.log.rows(SPEC, OWN, None, world.now)
    for minute in range(25, 60):
        world.answer(0, 0, minute % 30, 1, None, None, OWN, False, True)
        rows = world.log.rows(SPEC, OWN, None, world.now)
    assert len(rows._window) <= 6
    world.look(0)


def test_a_broken_line_is_counted_once_also_when_the_log_is_read_anew(tmp_path):
    world = World(tmp_path)
    busy(world, 3)
    world.tear(0)
    world.look(0)
    assert (world.log.take_broken("m"), world.log.take_broken("m")) == (1, 0)
    world.log.rows(SPEC, OTHER, None, world.now)
    assert world.log.take_broken("m") == 0
