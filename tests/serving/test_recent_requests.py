"""The newest requests, read from the ends of the log."""

from __future__ import annotations

import json

from perennial.serving.recent_requests import TAIL_BYTES, recent


def line(at: float, entity, **more) -> str:
    request = {"at": at, "entities": [entity], "context": {"cycle_size": 1}, "features": [[1.0, None]]}
    return json.dumps({**request, **more}) + "\n"


def write(folder, name: str, *lines: str) -> None:
    (folder / "m").mkdir(exist_ok=True)
    (folder / "m" / name).write_text("".join(lines))


def test_newest_first_one_of_each_entity(tmp_path):
    write(tmp_path, "20260105T08-a.jsonl", line(1, {"t": "old"}), line(5, {"t": "x"}), line(6, {"t": "x"}))
    write(tmp_path, "20260105T08-b.jsonl", line(3, {"t": "y"}), line(7, None))
    bodies = recent(tmp_path, "m", 2)
    assert [body["entities"] for body in bodies] == [[{"t": "x"}], [{"t": "y"}]]
    assert bodies[0]["context"] == {"cycle_size": 1}


def test_torn_lines_and_long_files_do_not_matter(tmp_path):
    many = [line(at, {"t": str(at)}, padding="x" * 200) for at in range(3000)]
    assert sum(map(len, many)) > TAIL_BYTES
    write(tmp_path, "20260105T08-a.jsonl", *many, '{"at": 9999, "entit')
    assert recent(tmp_path, "m", 1)[0]["entities"] == [{"t": "2999"}]


def test_nobody_asked_yet(tmp_path):
    assert recent(tmp_path, "m", 5) == []


def test_entities_without_known_features_and_broken_requests_are_no_examples(tmp_path):
    strangers = [line(at, {"t": f"unknown{at}"}, features=[[None, None]]) for at in range(10, 20)]
    broken = ["[]\n", "{}\n", '{"at": 30, "entities": [], "features": []}\n']
    write(tmp_path, "20260105T08-a.jsonl", line(1, {"t": "known"}), *strangers, *broken)
    assert [body["entities"] for body in recent(tmp_path, "m", 5)] == [[{"t": "known"}]]
