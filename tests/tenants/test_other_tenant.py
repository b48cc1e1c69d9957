"""A plant refuses the places of another tenant: every command of the command line, before anything is changed."""

from __future__ import annotations

import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from command_line.tree import commands

from perennial import files, state_folder
from perennial.cli import OF_NO_TENANT, main
from perennial.core.events import Entry
from perennial.errors import ChecksFailed, OtherTenant
from perennial.local.backup.make import make
from perennial.settings import load
from perennial.wiring import database

REFUSED = OtherTenant.exit_code


EVERY = list(commands())
GUARDED = [command for command in EVERY if command[0] not in OF_NO_TENANT]


@pytest.fixture
def given(tmp_path, monkeypatch):
    """Set settings; the state folder is that of `acme` once it was used."""

    def set_(**values: object) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"PERENNIAL_{name.upper()}", str(value))

    set_(home=tmp_path / "acme", tenant="acme")
    return set_


@pytest.fixture
def used(given, tmp_path) -> Path:
    """The state folder of `acme` with an entry in its ledger."""
    assert main(["local", "setup"]) == 0
    entry = Entry(at=datetime.now(UTC), actor="ann", kind="k", model="m")
    database.store(load()).ledger.append(entry)
    return tmp_path / "acme"


def content(folder: Path) -> dict[Path, bytes]:
    """Return the files of a folder but SQLite's own, which a reader makes and removes."""
    return {
        path: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }


def test_there_are_commands_to_guard():
    assert len(GUARDED) > 80
    assert {command for command in EVERY if command[0] in OF_NO_TENANT} == {
        ("doctor",),
        ("tenant", "plan"),
        ("tenant", "claim"),
    }


def test_every_command_refuses_the_state_folder_of_another_tenant(given, used, capsys):
    before = content(used)
    given(tenant="globex")
    for command in [*GUARDED, ("tenant", "claim")]:
        assert main(list(command)) == REFUSED, command
        told = capsys.readouterr().err
        assert "belongs to the tenant acme, and PERENNIAL_TENANT is globex" in told, command
    assert content(used) == before


def test_every_command_refuses_the_database_of_another_tenant(given, used, tmp_path, capsys):
    before = content(used)
    given(tenant="globex", home=tmp_path / "globex", database_url=f"sqlite:///{used}/perennial.db")
    for command in [*GUARDED, ("tenant", "claim")]:
        assert main(list(command)) == REFUSED, command
    assert content(used) == before
    assert not (tmp_path / "globex").exists()


@pytest.mark.parametrize(
    "command", [["ledger", "show"], ["token", "list"], ["local", "setup"], ["ledger", "head"]]
)
def test_a_plant_without_a_tenant_refuses_what_is_a_tenants(
    given, used, tmp_path, monkeypatch, capsys, command
):
    monkeypatch.delenv("PERENNIAL_TENANT")
    before = content(used)
    assert main(command) == REFUSED
    assert content(used) == before
    given(home=tmp_path / "own", database_url=f"sqlite:///{used}/perennial.db")
    if command != ["local", "setup"]:
        assert main(command) == REFUSED
        assert "belongs to the tenant acme, and PERENNIAL_TENANT is not set" in capsys.readouterr().err
    assert content(used) == before


def test_a_rollback_reads_no_token_of_another_tenant(used, tmp_path):
    """Its quick way to an SQLite file passes by the tables' other guards."""
    settings = load().model_copy(update={"tenant": "globex"})
    with pytest.raises(OtherTenant):
        database.quick_reads(settings).find("t1")
    with pytest.raises(OtherTenant):
        database.quick_reads(settings).rows("m", kinds=["k"])


def test_the_tenant_itself_goes_on(given, used):
    assert main(["ledger", "verify"]) == 0
    assert main(["local", "setup"]) == 0
    assert stat.S_IMODE((used / "tenant").stat().st_mode) == 0o644, "MLflow's own account reads it, too"


def test_help_is_for_everybody(given, used, capsys):
    given(tenant="globex")
    assert main(["ledger", "show", "--help"]) == 0
    assert main(["--version"]) == 0


def test_doctor_says_whose_it_is(given, used, tmp_path, capsys):
    def rows() -> dict[str, dict[str, str]]:
        capsys.readouterr()
        main(["doctor", "--json"])
        return {row["check"]: row for row in json.loads(capsys.readouterr().out)}

    assert rows()["tenant"]["state"] == "ok"
    given(tenant="globex")
    assert main(["doctor"]) == ChecksFailed.exit_code
    assert list(rows()) == ["tenant"], "nothing of the other's plant is shown"
    given(home=tmp_path / "globex", database_url=f"sqlite:///{used}/perennial.db")
    found = rows()
    assert found["tenant"]["state"] == "down"
    assert found["database"]["state"] == "problem"
    assert "tenant acme" in found["database"]["what"]


def test_a_plant_that_was_there_before_is_claimed_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "old"))
    assert main(["local", "setup"]) == 0
    database.store(load()).ledger.append(Entry(at=datetime.now(UTC), actor="ann", kind="k", model="m"))
    assert main(["tenant", "claim"]) == 11
    monkeypatch.setenv("PERENNIAL_TENANT", "acme")
    assert main(["ledger", "show"]) == REFUSED
    assert "perennial tenant claim" in capsys.readouterr().err
    for _ in range(2):
        assert main(["tenant", "claim"]) == 0
    assert main(["ledger", "show"]) == 0
    monkeypatch.setenv("PERENNIAL_TENANT", "globex")
    assert main(["tenant", "claim"]) == REFUSED
    monkeypatch.delenv("PERENNIAL_TENANT")
    assert main(["ledger", "show"]) == REFUSED


def test_a_backup_is_restored_by_its_own_tenant_only(given, used, tmp_path, capsys):
    make(load(), tmp_path / "backup", None, datetime.now(UTC), print)
    given(tenant="globex", home=tmp_path / "globex")
    assert main(["restore", str(tmp_path / "backup")]) == REFUSED
    assert not (tmp_path / "globex").exists()
    given(tenant="acme", home=tmp_path / "again")
    assert main(["restore", str(tmp_path / "backup")]) == 0
    assert main(["ledger", "verify"]) == 0
    assert (tmp_path / "again" / "tenant").read_text() == "acme\n"


def test_work_before_the_set_up_marks_the_folder(given, tmp_path):
    assert main(["ledger", "show"]) == 0
    assert (tmp_path / "acme" / "tenant").read_text() == "acme\n"
    given(tenant="globex")
    assert main(["ledger", "show"]) == REFUSED


def test_of_two_tenants_that_begin_at_once_one_has_the_folder(tmp_path, monkeypatch):
    original = files.write_text

    def meanwhile(path: Path, *given) -> None:
        original(path, *given)
        (tmp_path / "tenant").write_text("globex\n")

    monkeypatch.setattr(files, "write_text", meanwhile)
    with pytest.raises(OtherTenant, match="belongs to the tenant globex"):
        state_folder.mark(tmp_path, "acme")
    assert [path.name for path in tmp_path.iterdir()] == ["tenant"]
    assert state_folder.owner_of(tmp_path) == "globex"


def test_a_mark_that_a_kill_left_unfinished_is_no_content(tmp_path, monkeypatch):
    class Killed(BaseException): ...

    def killed(*given) -> None:
        raise Killed

    for step in ("link", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, step, killed)
            patch.setattr(Path, "unlink", lambda *given, **more: None)
            with pytest.raises(Killed):
                state_folder.mark(tmp_path, "acme")
    assert list(tmp_path.iterdir())
    state_folder.refuse_other_folder(tmp_path, "acme")
    state_folder.mark(tmp_path, "acme")
    assert state_folder.owner_of(tmp_path) == "acme"
    assert stat.S_IMODE((tmp_path / "tenant").stat().st_mode) == 0o644
