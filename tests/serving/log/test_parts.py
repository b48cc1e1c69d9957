"""The log of a serving machine arrives on the control plane: whole, once, and whoever is killed where."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from perennial.adapters.exchange import Exchange
from perennial.errors import ToolError
from perennial.serving.log import parts
from perennial.serving.log.parts import LogReceiver, LogSender

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
JOURNAL = "log/m/20260301T12-stable-1.0.jsonl"
HERE = "log/m/20260301T12-serving_a-stable-1.0.jsonl"


class Halves:
    """Two folders and an exchange on the disk."""

    def __init__(self, folder) -> None:
        self.serving, self.control = folder / "serving", folder / "control"
        self.exchange = Exchange(f"file://{folder}/exchange")

    def log(self, text: str, name: str = JOURNAL) -> None:
        path = self.serving / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(text)

    def send(self, at: datetime = NOW) -> int:
        return LogSender(self.serving, "serving_a", self.exchange).run(at)

    def receive(self) -> int:
        return LogReceiver(self.control, self.exchange).run()

    def pass_on(self) -> None:
        self.send()
        self.receive()

    def arrived(self) -> str:
        paths = sorted(self.control.glob("log/m/*.jsonl"))
        return "".join(path.read_text() for path in paths)


@pytest.fixture
def halves(tmp_path) -> Halves:
    return Halves(tmp_path)


def test_whole_lines_arrive_once(halves):
    assert halves.receive() == 0
    halves.log("one\ntwo\nthr")
    assert halves.send() == 8
    assert halves.receive() == 8
    halves.log("ee\nfour\n")
    for _ in range(2):
        halves.send()
        halves.receive()
    assert (halves.control / HERE).read_text() == "one\ntwo\nthree\nfour\n"
    assert halves.exchange.names("log") == []


def test_labels_arrive_where_the_inbox_looks(halves):
    halves.log("label\n", "feedback/server-1.jsonl")
    halves.send()
    halves.receive()
    assert [path.read_text() for path in halves.control.glob("feedback/*.jsonl")] == ["label\n"]


def test_long_journals_go_in_several_parts(halves, monkeypatch):
    monkeypatch.setattr(parts, "MOST_BYTES", 10)
    lines = "".join(f"line {number}\n" for number in range(20)) + "x" * 50 + "\n"
    halves.log(lines)
    halves.send()
    assert len(halves.exchange.names("log")) > 5
    halves.receive()
    assert halves.arrived() == lines


@pytest.mark.parametrize("killed_in", ["write", "remove"])
def test_a_pass_that_is_killed_loses_and_repeats_nothing(halves, monkeypatch, killed_in):
    """Killed after the sender's upload, and after the receiver's append, before either has noted it."""
    halves.log("one\n")
    done = getattr(Exchange, killed_in)

    def die(self, *arguments) -> None:
        done(self, *arguments) if killed_in == "write" else None
        raise ToolError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Exchange, killed_in, die)
        with pytest.raises(ToolError):
            halves.pass_on()
    halves.log("two\n")
    for _ in range(2):
        halves.send()
        halves.receive()
    assert halves.arrived() == "one\ntwo\n"


def test_what_was_appended_and_not_noted_is_written_once(halves):
    halves.log("one\n")
    halves.send()
    halves.receive()
    with (halves.control / HERE).open("a") as file:
        file.write("two, of a pass that was ki")
    halves.log("two\n")
    halves.send()
    halves.receive()
    assert halves.arrived() == "one\ntwo\n"


def test_lines_that_come_after_the_journal_was_sealed_are_a_journal_of_their_own(halves):
    halves.log("one\n")
    halves.send()
    halves.receive()
    (halves.control / HERE).unlink()
    halves.log("two\n")
    halves.send()
    halves.receive()
    halves.log("three\n")
    halves.send()
    halves.receive()
    (path,) = halves.control.glob("log/m/*.jsonl")
    assert path.name == "20260301T12-serving_a-stable-1.0@4.jsonl"
    assert path.read_text() == "two\nthree\n"


def test_a_machine_keeps_a_journal_for_a_day_and_until_it_was_sent(halves, monkeypatch):
    halves.log("one\n")
    later = NOW + timedelta(days=3)

    def away(self, name: str, content: bytes) -> None:
        raise ToolError("S3 does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(Exchange, "write", away)
        with pytest.raises(ToolError):
            halves.send(later)
    halves.send(NOW + timedelta(hours=20))
    assert (halves.serving / JOURNAL).exists()
    halves.send(later)
    assert not (halves.serving / JOURNAL).exists()
    halves.receive()
    assert halves.arrived() == "one\n"


def test_a_torn_line_of_a_killed_server_does_not_end_the_sending(halves):
    halves.log("tor")
    halves.log("one\n", JOURNAL.replace("stable", "canary"))
    assert halves.send(NOW + timedelta(days=3)) == 4
    assert not (halves.serving / JOURNAL).exists()


def test_a_longer_part_that_comes_while_the_shorter_one_is_removed_arrives(halves, monkeypatch):
    """The sender was killed before it noted the shorter one."""
    halves.log("one\n")
    halves.send()
    remove = Exchange.remove

    def late(self, name: str) -> None:
        monkeypatch.setattr(Exchange, "remove", remove)
        (halves.serving / "sent.json").unlink()
        halves.log("two\n")
        halves.send()
        remove(self, name)

    monkeypatch.setattr(Exchange, "remove", late)
    for _ in range(2):
        halves.receive()
    halves.log("three\n")
    halves.pass_on()
    assert halves.arrived() == "one\ntwo\nthree\n"


def test_names_that_are_no_parts_are_left_alone(halves):
    for name in ("log/serving_a/../../etc/passwd/000000000000000", "log/serving_a/log/m/x.jsonl/1", "log/x"):
        halves.exchange.write(name.replace("..", "dots"), b"x\n")
    assert halves.receive() == 0
    assert list(halves.control.rglob("*.jsonl")) == []
