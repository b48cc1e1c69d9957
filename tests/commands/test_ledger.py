"""`perennial ledger` over a real SQLite store: whatever is done to the table, `verify` finds it."""

from __future__ import annotations

import json
import sqlite3
import stat
from datetime import UTC, datetime, timedelta

import pytest

from perennial import settings as environment
from perennial.cli import main
from perennial.core.events import Entry
from perennial.core.governance.ledger import GENESIS
from perennial.errors import LedgerBroken, MalformedInput, SettingsError, UsageError
from perennial.wiring import database

BROKEN = LedgerBroken.exit_code
SET_BACK = f"UPDATE perennial_ledger_head SET seq = 0, hash = '{GENESIS}'"  # noqa: S608
START = datetime(2026, 1, 5, 8, tzinfo=UTC)


def an_entry(number: int, actor: str = "ann") -> Entry:
    at = START + timedelta(minutes=number)
    return Entry(at=at, actor=actor, kind=f"test.{number}", model="m", payload={"number": number})


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Five entries, and a way to change the table behind the ledger's back."""
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PERENNIAL_LEDGER_KEY", raising=False)
    ledger = database.store(environment.load()).ledger
    for number in range(5):
        ledger.append(an_entry(number))

    def change(*statements: str) -> None:
        connection = sqlite3.connect(tmp_path / "home" / "perennial.db")
        with connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()

    return change


@pytest.fixture
def key(tmp_path, monkeypatch):
    path = tmp_path / "keys" / "ledger"
    assert main(["ledger", "keygen", str(path)]) == 0
    monkeypatch.setenv("PERENNIAL_LEDGER_KEY", str(path))
    return path


def rewrite(change, entries: list[Entry]) -> None:
    """What somebody with the whole database and this code can do: a new chain, the note of its end too."""
    change("DELETE FROM perennial_ledger", SET_BACK)
    ledger = database.store(environment.load()).ledger
    for entry in entries:
        ledger.append(entry)


@pytest.mark.parametrize(
    ("statement", "place"),
    [
        ("UPDATE perennial_ledger SET entry = replace(entry, 'ann', 'bob') WHERE seq = 2", 2),
        ("UPDATE perennial_ledger SET entry = entry || ' ' WHERE seq = 3", 3),
        ("UPDATE perennial_ledger SET entry = 'not json' WHERE seq = 3", 3),
        ("UPDATE perennial_ledger SET model = 'other' WHERE seq = 4", 4),
        ("UPDATE perennial_ledger SET entry = CAST(x'7b22ff227d' AS TEXT) WHERE seq = 3", 3),
        ("UPDATE perennial_ledger SET entry = CAST(entry AS BLOB) WHERE seq = 3", 3),
        ("UPDATE perennial_ledger SET model = CAST(x'6dff' AS TEXT) WHERE seq = 4", 4),
        ("UPDATE perennial_ledger SET previous = CAST(x'ff' AS TEXT) WHERE seq = 2", 2),
        ("UPDATE perennial_ledger SET hash = CAST(x'ff' AS TEXT) WHERE seq = 5", 5),
        ("UPDATE perennial_ledger SET hash = 'x' WHERE seq = 5", 5),
        ("DELETE FROM perennial_ledger WHERE seq = 1", 1),
        ("DELETE FROM perennial_ledger WHERE seq = 3", 3),
        ("UPDATE perennial_ledger SET seq = 9 WHERE seq = 4", 4),
    ],
)
def test_verify_finds_it_and_where(table, capsys, statement, place):
    table(statement)
    assert main(["ledger", "verify"]) == BROKEN
    assert f"at entry {place} of" in capsys.readouterr().err


def test_verify_finds_two_entries_that_changed_places(table, capsys):
    swap = "UPDATE perennial_ledger SET seq = {} WHERE seq = {}"
    table(swap.format(99, 2), swap.format(2, 3), swap.format(3, 99))
    assert main(["ledger", "verify"]) == BROKEN
    assert "at entry 2 of" in capsys.readouterr().err


def test_cut_end_is_found_by_the_note_of_the_end(table, capsys):
    table("DELETE FROM perennial_ledger WHERE seq > 3")
    assert main(["ledger", "verify"]) == BROKEN
    assert "last 2 of 5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (SET_BACK, "set back to entry 0 of 5"),
        ("UPDATE perennial_ledger_head SET seq = 3", "set back to entry 3 of 5"),
        ("UPDATE perennial_ledger_head SET seq = 7", "last 2 of 7"),
        ("UPDATE perennial_ledger_head SET hash = 'x'", "entry 5 is not the one"),
        ("UPDATE perennial_ledger_head SET hash = CAST(x'ff' AS TEXT)", "entry 5 is not the one"),
        ("DELETE FROM perennial_ledger_head", "0 notes of the ledger's end"),
        ("INSERT INTO perennial_ledger_head VALUES (2, 5, 'x')", "2 notes of the ledger's end"),
    ],
)
def test_changed_note_of_the_end_is_found(table, capsys, statement, told):
    table(statement)
    assert main(["ledger", "verify"]) == BROKEN
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    "statement",
    [
        SET_BACK,
        "DELETE FROM perennial_ledger_head",
    ],
)
def test_nothing_is_appended_after_a_note_that_was_set_back_or_lost(table, statement):
    running = database.store(environment.load()).ledger
    assert running.end()[0] == 5
    table(statement)
    for ledger in (running, database.store(environment.load()).ledger):
        with pytest.raises(LedgerBroken):
            ledger.append(an_entry(5))
        assert len(ledger.rows()) == 5, "what is there can still be read"


def test_entry_that_is_no_text_has_a_place_for_whoever_reads_it(table, capsys):
    table("UPDATE perennial_ledger SET entry = replace(entry, 'ann', CAST(x'ff' AS TEXT)) WHERE seq = 3")
    assert main(["ledger", "show"]) == BROKEN
    assert "entry 3 of the ledger" in capsys.readouterr().err


def test_signed_head_finds_cut_end_and_rewritten_chain(table, key, tmp_path, capsys):
    kept = str(tmp_path / "head.json")
    assert main(["ledger", "head", "--sign", "--out", kept]) == 0
    database.store(environment.load()).ledger.append(an_entry(5))
    assert main(["ledger", "verify", "--head", kept]) == 0
    assert "entry 5 (signed by" in capsys.readouterr().out

    rewrite(table, [an_entry(number) for number in range(3)])
    assert main(["ledger", "verify"]) == 0, "the whole chain was written anew: it holds"
    assert main(["ledger", "verify", "--head", kept]) == BROKEN
    assert "last 2 of 5 entries are cut off" in capsys.readouterr().err

    rewrite(table, [an_entry(number, "bob" if number == 1 else "ann") for number in range(6)])
    assert main(["ledger", "verify"]) == 0
    assert main(["ledger", "verify", "--head", kept]) == BROKEN
    assert "written anew" in capsys.readouterr().err


def test_forged_heads_are_refused(table, key, tmp_path, capsys, monkeypatch):
    kept = tmp_path / "head.json"
    main(["ledger", "head", "--sign", "--out", str(kept)])
    genuine = json.loads(kept.read_text())

    def verdict(**changes) -> tuple[int, str]:
        kept.write_text(json.dumps({**genuine, **changes}))
        capsys.readouterr()
        return main(["ledger", "verify", "--head", str(kept)]), capsys.readouterr().err

    assert verdict()[0] == 0
    assert verdict(head={**genuine["head"], "seq": 4})[0] == BROKEN
    assert "not signed" in verdict(key=None, signature=None)[1]
    other = tmp_path / "other"
    main(["ledger", "keygen", str(other)])
    public = (tmp_path / "other.pub").read_text().strip()
    assert "signed by" in verdict(key=public)[1]
    kept.write_text(json.dumps(genuine))
    assert main(["ledger", "verify", "--head", str(kept), "--public-key", f"{other}.pub"]) == BROKEN
    monkeypatch.delenv("PERENNIAL_LEDGER_KEY")
    assert main(["ledger", "verify", "--head", str(kept), "--public-key", f"{key}.pub"]) == 0
    capsys.readouterr()
    assert main(["ledger", "verify", "--head", str(kept)]) == 0
    assert "signature not checked" in capsys.readouterr().out


def test_head_of_a_broken_ledger_is_not_taken(table, key):
    table("DELETE FROM perennial_ledger WHERE seq = 2")
    assert main(["ledger", "head", "--sign"]) == BROKEN


def test_export_is_json_lines_that_can_be_verified(table, tmp_path, capsys):
    path, kept = tmp_path / "ledger.jsonl", tmp_path / "head.json"
    assert main(["ledger", "export", str(path)]) == 0
    assert main(["ledger", "head", "--out", str(kept)]) == 0
    lines = path.read_text().splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [1, 2, 3, 4, 5]
    check = ["ledger", "verify", "--export", str(path)]
    assert main([*check, "--head", str(kept)]) == 0
    path.write_text("\n".join(lines[:-1]))
    assert main(check) == 0
    assert main([*check, "--head", str(kept)]) == BROKEN
    path.write_text("\n".join([lines[0], *lines[2:]]))
    assert main(check) == BROKEN
    path.write_text("nonsense\n")
    assert main(check) == MalformedInput.exit_code
    path.write_text("")
    assert main(check) == 0


def test_export_of_a_reason_with_separators_of_lines_is_verified(table, tmp_path, capsys):
    entry = an_entry(5).model_copy(
        update={"payload": {"reason": "one\u2028two\u2029three\x85four\x0cfive\r\n"}}
    )
    database.store(environment.load()).ledger.append(entry)
    path = tmp_path / "ledger.jsonl"
    assert main(["ledger", "export", str(path)]) == 0
    assert main(["ledger", "verify", "--export", str(path)]) == 0
    assert "6 entries, the chain holds" in capsys.readouterr().out


def test_private_key_is_for_its_owner_only(table, key, capsys):
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert main(["ledger", "keygen", str(key)]) == UsageError.exit_code
    key.chmod(0o640)
    assert main(["ledger", "head", "--sign"]) == SettingsError.exit_code
    assert "chmod 600" in capsys.readouterr().err
    key.chmod(0o600)
    key.write_text("nonsense")
    assert main(["ledger", "head", "--sign"]) == SettingsError.exit_code


def test_signing_without_a_key_says_how_to_get_one(table, capsys):
    assert main(["ledger", "head", "--sign"]) == SettingsError.exit_code
    assert "keygen" in capsys.readouterr().err
