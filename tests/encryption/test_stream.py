"""Encrypted files: what was written is read, in any order of reads; what was changed in any way is refused."""

from __future__ import annotations

import io
import os

import pytest
from examples import examples
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st

from perennial.encryption import header, keyring, stream
from perennial.encryption.header import HEADER, MAGIC, SLOT
from perennial.encryption.stream import CHUNK, STORED
from perennial.errors import SettingsError, UsageError
from perennial.local.doctor import finding
from perennial.secret_errors import DecryptionFailed, KeyMissing
from perennial.settings import Settings

SIZES = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5)


def ring(*ids: str) -> keyring.Keyring:
    """Return keys that follow from their ids."""
    return keyring.Keyring(tuple(keyring.Key(name, name.encode().ljust(32, b"k")) for name in ids))


OLD, NEW, BOTH = ring("old"), ring("new"), ring("new", "old")


def encrypted(content: bytes, name: str = "a", keys: keyring.Keyring = OLD) -> bytes:
    target = io.BytesIO()
    stream.encrypt(io.BytesIO(content), target, name, keys)
    return target.getvalue()


def opened(stored: bytes, name: str = "a", keys: keyring.Keyring | None = OLD) -> bytes:
    return stream.decrypted(io.BytesIO(stored), name, keys).read()


@pytest.mark.parametrize("size", SIZES)
def test_round_trip_and_sizes(size):
    content = os.urandom(size)
    stored = encrypted(content)
    assert opened(stored) == content
    assert len(stored) == stream.encrypted_size(size)
    assert stream.plain_size(len(stored)) == size
    assert stream.is_encrypted(stored[: len(MAGIC)])
    assert encrypted(content) != stored  # a key of its own for each file
    assert len(content) < 16 or content[:16] not in stored


@given(
    size=st.sampled_from(SIZES),
    reads=st.lists(st.tuples(st.integers(0, 4 * CHUNK), st.integers(0, 2 * CHUNK)), max_size=5),
)
@run(max_examples=examples(40))
def test_reads_at_any_place(size, reads):
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    file = stream.decrypted(io.BytesIO(encrypted(content)), "a", OLD)
    for place, length in reads:
        file.seek(place)
        assert file.read(length) == content[place : place + length]
    file.seek(-min(10, size), os.SEEK_END)
    assert file.read() == content[size - min(10, size) :]


@given(size=st.sampled_from(SIZES), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@run(max_examples=examples(200))
def test_any_bit_that_is_flipped(size, place, bit):
    """Of magic, key id, data key or contents; the empty slot has no meaning, but nothing may lie there either way."""
    stored = bytearray(encrypted(bytes(size)))
    at = int(place * len(stored))
    stored[at] ^= 1 << bit
    is_spare = len(MAGIC) + SLOT <= at < HEADER
    if is_spare:
        assert opened(bytes(stored)) == bytes(size)
    else:
        with pytest.raises((DecryptionFailed, KeyMissing)):
            opened(bytes(stored))


@given(size=st.sampled_from(SIZES), cut=st.floats(0, 1, exclude_max=True))
@run(max_examples=examples(100))
def test_what_was_cut_off_gives_no_byte(size, cut):
    stored = encrypted(os.urandom(size))
    with pytest.raises(DecryptionFailed):
        stream.decrypted(io.BytesIO(stored[: int(cut * len(stored))]), "a", OLD)


@pytest.mark.parametrize(
    "chunks", [[1, 0, 2, 3], [0, 1, 2], [0, 1, 1, 2, 3], [0, 2, 3], [3], [0, 1, 2, 3, 3]]
)
def test_chunks_in_another_order_left_out_or_repeated(chunks):
    stored = encrypted(os.urandom(3 * CHUNK + 5))
    parts = [stored[HEADER + number * STORED :][:STORED] for number in range(4)]
    with pytest.raises(DecryptionFailed):
        opened(stored[:HEADER] + b"".join(parts[number] for number in chunks))


def test_a_file_in_the_place_of_another():
    first, second = encrypted(b"first" * CHUNK, "first"), encrypted(b"other" * CHUNK, "second")
    with pytest.raises(DecryptionFailed, match="first was changed"):
        opened(second, "first")
    with pytest.raises(DecryptionFailed):
        opened(first[:HEADER] + second[HEADER:], "first")


def test_keys_that_are_missing_are_named():
    with pytest.raises(KeyMissing, match="encrypted by the key old; the keys here are new"):
        opened(encrypted(b"x"), keys=NEW)
    with pytest.raises(KeyMissing, match="there are no keys here"):
        opened(encrypted(b"x"), keys=None)
    other = keyring.Keyring((keyring.Key("old", b"another key of the same id......"),))
    with pytest.raises(DecryptionFailed, match="another of the same id"):
        opened(encrypted(b"x"), keys=other)


def test_a_growing_file_is_read_so_far():
    target = io.BytesIO()
    size, _ = stream.encrypt(io.BytesIO(bytes(3 * CHUNK)), target, "a", OLD, most=CHUNK + 7)
    assert size == CHUNK + 7
    assert opened(target.getvalue()) == bytes(CHUNK + 7)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("torn", [0, 1, 40, SLOT])
@pytest.mark.parametrize("at", [1, 2])
def test_a_rotation_that_is_killed_is_repeated(tmp_path, monkeypatch, at, torn):
    """At each write, of which any part may have reached the disk: the file opens, and the next rotation ends."""
    path, content = tmp_path / "file", os.urandom(CHUNK + 9)
    path.write_bytes(encrypted(content))
    body = path.read_bytes()[HEADER:]
    whole, writes = header._write, []

    def stopping(file, number, slot):
        writes.append(number)
        if len(writes) < at:
            return whole(file, number, slot)
        file.seek(len(MAGIC) + number * SLOT)
        file.write(slot[:torn])
        file.flush()
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(header, "_write", stopping)
        with pytest.raises(Killed):
            header.rotate(path, "a", BOTH)
    assert opened(path.read_bytes(), keys=BOTH) == content
    assert header.rotate(path, "a", BOTH) is not (at == 2 and torn == SLOT)
    assert opened(path.read_bytes(), keys=NEW) == content
    assert header.key_ids(path.read_bytes(), "a") == ["new"]
    assert path.read_bytes()[HEADER:] == body
    assert not header.rotate(path, "a", BOTH)


def test_a_rotation_without_the_old_key(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(encrypted(b"x"))
    with pytest.raises(KeyMissing, match="old"):
        header.rotate(path, "a", NEW)
    assert opened(path.read_bytes()) == b"x"


def test_keys_are_written_for_their_owner_and_read_back(tmp_path):
    path = tmp_path / "encryption.keys"
    assert keyring.generate(path, "2026-01") == ("2026-01",)
    first = keyring.parse(path.read_text()).first
    assert keyring.generate(path, "2026-02") == ("2026-02", "2026-01")
    keys = keyring.parse(path.read_text())
    assert keys.get("2026-01") == first != keys.first
    assert path.stat().st_mode & 0o777 == 0o600
    assert "'" not in repr(first)
    with pytest.raises(SettingsError, match="twice"):
        keyring.generate(path, "2026-01")
    with pytest.raises(UsageError):
        keyring.generate(path, "No id")


@pytest.mark.parametrize("text", ["", "hidden", "a:hidden", "a:", ":aGlkZGVu", "A:" + "aGlkZGVu" * 6])
def test_malformed_keys_are_not_repeated(text):
    with pytest.raises(SettingsError, match="PERENNIAL_ENCRYPTION_KEYS") as refused:
        keyring.parse(text)
    assert "hidden" not in str(refused.value)
    assert "aGlk" not in str(refused.value)


def test_the_doctor_masks_each_key(tmp_path):
    keyring.generate(tmp_path / "keys", "a")
    keyring.generate(tmp_path / "keys", "b")
    text = (tmp_path / "keys").read_text()
    secrets = [line.partition(":")[2] for line in text.split()]
    shown = finding.Finding("check", finding.State.OK, f"a library says {secrets[1]} and {secrets[0]}")
    plant = Settings(home=tmp_path, encryption_keys=text)
    assert finding.without_secrets([shown], plant)[0].what == "a library says *** and ***"


def test_a_head_without_the_id_of_a_key_is_a_broken_file_and_its_bytes_are_not_shown():
    stored = encrypted(b"content")
    start = len(header.MAGIC)
    for slot in (bytes(header.SLOT), b"\x1b[2J" + bytes(header.SLOT - 4), b"\xff" * header.SLOT):
        changed = stored[:start] + slot + stored[start + header.SLOT :]
        for keys in (OLD, None):
            with pytest.raises(DecryptionFailed):
                opened(changed, keys=keys)
