"""A folder of backups: a new one by the time, the oldest go, and nothing that is no backup of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from backups.saved_plant import AT

from perennial.cli import main
from perennial.errors import BackupRunning
from perennial.local.backup.manifest import FILE, UNFINISHED
from perennial.local.backup.series import next_of


def finished(folder, name):
    (folder / name).mkdir(parents=True)
    (folder / name / FILE).write_text("{}")


def made(folder, keep, at, say=print):
    with next_of(folder, keep, at, say) as path:
        finished(folder, path.name)
    return path.name


def fails(folder, at):
    with next_of(folder, 1, at, print) as path:
        path.mkdir()
        (path / UNFINISHED).write_text("")
        raise OSError("the disk is full")


def here(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def test_the_oldest_go_when_a_new_one_is_complete(tmp_path):
    names = [made(tmp_path, 2, AT + timedelta(days=day)) for day in range(4)]
    assert names[0] == "2026-03-01T080000Z"
    assert here(tmp_path) == names[2:]


def test_the_new_one_stays_where_the_clock_was_set_back(tmp_path):
    made(tmp_path, 1, AT)
    name = made(tmp_path, 1, AT - timedelta(days=1))
    assert here(tmp_path) == [name]


def test_nothing_goes_for_one_that_failed(tmp_path):
    first = made(tmp_path, 1, AT)
    with pytest.raises(OSError, match="full"):
        fails(tmp_path, AT + timedelta(days=1))
    assert here(tmp_path) == [first, "2026-03-02T080000Z"]
    last = made(tmp_path, 1, AT + timedelta(days=2))
    assert here(tmp_path) == [last], "what the killed run left is gone, too"


def test_what_is_no_backup_of_the_series_stays(tmp_path):
    finished(tmp_path, "before-the-upgrade")
    (tmp_path / "2026-02-01T000000Z").mkdir()
    (tmp_path / "2026-02-01T000000Z" / "mine").write_text("of somebody else")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "2026-02-02T000000Z").symlink_to(tmp_path / "elsewhere")
    made(tmp_path, 1, AT)
    assert here(tmp_path) == ["2026-02-01T000000Z", "2026-02-02T000000Z", "2026-03-01T080000Z",
                              "before-the-upgrade", "elsewhere"]  # fmt: skip


def test_a_removal_that_was_killed_is_ended_by_the_next_run(tmp_path):
    finished(tmp_path, ".2026-01-01T000000Z.removed")
    name = made(tmp_path, 1, AT)
    assert here(tmp_path) == [name]


def test_two_at_once_are_refused(tmp_path):
    with next_of(tmp_path, 1, AT, print), pytest.raises(BackupRunning), next_of(tmp_path, 1, AT, print):
        pytest.fail("two backups into one folder")


def test_the_command_makes_one_of_a_series(plant, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PERENNIAL_HOME", str(plant.state))
    assert main(["backup", str(tmp_path / "all"), "--keep", "1"]) == 0
    (first,) = here(tmp_path / "all")
    assert f"all/{first}: " in capsys.readouterr().out
    assert main(["backup", str(plant.state / "all"), "--keep", "1"]) == 13
    assert not (plant.state / "all").exists(), "it would be in the next backup"
    assert main(["backup", str(tmp_path / "all"), "--keep", "0"]) == 2
