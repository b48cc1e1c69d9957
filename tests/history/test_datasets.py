"""The dataset catalogue and the fetching of its files: from the mirror, else over the network, verified."""

from __future__ import annotations

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from perennial.adapters.dataset_files import DatasetFiles
from perennial.errors import ChecksumMismatch, DatasetMissing, MalformedInput, SpecError
from perennial.history import datasets

CATALOGUE = Path(__file__).resolve().parents[2] / "configs" / "datasets.yaml"
HEADER = b"Id;Verdict;Cycle\r\n"
FIRST = HEADER + b"1;0;1\r\n2;1;2\n"
WHOLE = FIRST + b"3;0;3\r\n"


def entry(content=FIRST, **changed):
    return datasets.Dataset(
        **{
            "name": "ours",
            "title": "t",
            "homepage": "https://example.invalid",
            "address": None,
            "licence": "MIT",
            "consent": {"state": "not_needed", "by": "us"},
            "format": "iofrol",
            "mirror": "folder/ours.csv",
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        | changed
    )


@pytest.fixture
def mirror(tmp_path):
    def hold(content):
        (tmp_path / "mirror/folder").mkdir(parents=True, exist_ok=True)
        (tmp_path / "mirror/folder/ours.csv").write_bytes(content)
        return tmp_path / "mirror"

    return hold


@pytest.fixture
def server(tmp_path):
    """A real HTTP server over a folder, on a free port."""
    folder = tmp_path / "public"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def fetch(tmp_path, dataset, mirror=None, progress=lambda *_: None):
    return DatasetFiles(tmp_path / "downloads", mirror).fetch(dataset, progress)


def test_every_entry_of_the_catalogue_is_read():
    entries = datasets.catalogue(CATALOGUE)
    assert entries["iofrol"].cut.cycles == 208
    assert {one.format for one in entries.values()} == {"iofrol", "arff", "parquet"}
    with pytest.raises(DatasetMissing) as caught:
        datasets.find(entries, "iofrl")
    assert "did you mean iofrol?" in caught.value.hint


@pytest.mark.parametrize("text", ["- a\n- b", "iofrol: [", "iofrol: {title: x}", "iofrol: 3"])
def test_a_broken_catalogue_is_named(tmp_path, text):
    path = tmp_path / "datasets.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=r"datasets\.yaml"):
        datasets.catalogue(path)


def test_from_the_mirror(tmp_path, mirror):
    path = fetch(tmp_path, entry(), mirror(FIRST))
    assert path.read_bytes() == FIRST


def test_wrong_bytes_change_nothing(tmp_path, mirror):
    with pytest.raises(ChecksumMismatch) as caught:
        fetch(tmp_path, entry(), mirror(WHOLE))
    for content in (FIRST, WHOLE):
        assert hashlib.sha256(content).hexdigest() in caught.value.message
    assert not (tmp_path / "downloads").exists()
    good = fetch(tmp_path, entry(), mirror(FIRST))
    good.write_bytes(b"damaged on disk")
    with pytest.raises(ChecksumMismatch):
        fetch(tmp_path, entry(), mirror(WHOLE))
    assert fetch(tmp_path, entry(), mirror(FIRST)).read_bytes() == FIRST


def test_a_fetched_file_needs_the_mirror_no_more(tmp_path, mirror):
    path = fetch(tmp_path, entry(), mirror(FIRST))
    assert fetch(tmp_path, entry(), mirror=None) == path


def test_from_the_public_address_with_progress(tmp_path, server):
    folder, address = server
    (folder / "ours.csv").write_bytes(FIRST)
    seen = []
    path = fetch(tmp_path, entry(address=f"{address}/ours.csv"), None, lambda *one: seen.append(one))
    assert path.read_bytes() == FIRST
    assert seen[-1] == (len(FIRST), len(FIRST))


def test_a_longer_public_file_is_cut_byte_for_byte(tmp_path, server):
    folder, address = server
    (folder / "ours.csv").write_bytes(WHOLE)
    cut = entry(address=f"{address}/ours.csv", cut={"cycles": 2})
    assert fetch(tmp_path, cut).read_bytes() == FIRST
    with pytest.raises(ChecksumMismatch):
        fetch(tmp_path / "other", entry(address=f"{address}/ours.csv"))
    (folder / "page.html").write_bytes(b"<html>\nsign in\n</html>")
    with pytest.raises(MalformedInput, match=r"page\.html:2"):
        fetch(tmp_path / "other", entry(address=f"{address}/page.html", cut={"cycles": 2}))


def test_nobody_has_it(tmp_path, server, mirror):
    _, address = server
    with pytest.raises(DatasetMissing, match="404") as caught:
        fetch(tmp_path, entry(address=f"{address}/nowhere.csv"))
    assert "PERENNIAL_DATA_MIRROR" in caught.value.hint
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DatasetMissing, match=r"the mirror folder has no folder/ours\.csv"):
        fetch(tmp_path, entry(), empty)
    with pytest.raises(DatasetMissing, match="ConnectError"):
        fetch(tmp_path, entry(address="http://127.0.0.1:1/ours.csv"))
