"""Files of the dataset catalogue, from the mirror folder or their public address."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import httpx

from perennial import files
from perennial.errors import ChecksumMismatch, DatasetMissing
from perennial.history.datasets import Dataset

Progress = Callable[[int, int | None], None]
"""Callback with the bytes so far and in all (None if unknown)."""

TIMEOUT = httpx.Timeout(30, connect=10)


class DatasetFiles:
    """Verified files in a download folder.

    Args:
        downloads: keeps only files with the digest of their entry.
        mirror: folder with copies of the files, or None.
    """

    def __init__(self, downloads: Path, mirror: Path | None) -> None:
        self._downloads = downloads
        self._mirror = mirror

    def fetch(self, dataset: Dataset, progress: Progress) -> Path:
        """Return the verified file of an entry, from the downloads, the mirror or the public address.

        Raises:
            ChecksumMismatch: the bytes have another digest; nothing is kept.
            DatasetMissing: neither the mirror nor the address has the file.
        """
        kept = self._downloads / dataset.filename
        if kept.is_file() and files.sha256(kept) == dataset.sha256:
            return kept
        mirrored = self._mirror / dataset.mirror if self._mirror else None
        if mirrored is not None and mirrored.is_file():
            return self._keep(dataset, mirrored.read_bytes(), str(mirrored))
        if dataset.address is None:
            raise DatasetMissing(
                f"{dataset.name}: no public file has these bytes, and {self._no_mirror(dataset)}",
                hint=f"set PERENNIAL_DATA_MIRROR; the origin is {dataset.homepage}",
            )
        content = self._download(dataset, dataset.address, progress)
        if dataset.cut is not None:
            content = dataset.cut.apply(content, dataset.address)
        return self._keep(dataset, content, dataset.address)

    def _download(self, dataset: Dataset, address: str, progress: Progress) -> bytes:
        chunks = bytearray()
        try:
            with httpx.stream("GET", address, follow_redirects=True, timeout=TIMEOUT) as answer:
                answer.raise_for_status()
                total = int(answer.headers["content-length"]) if "content-length" in answer.headers else None
                for chunk in answer.iter_bytes():
                    chunks += chunk
                    progress(answer.num_bytes_downloaded, total)
        except httpx.HTTPError as error:
            raise DatasetMissing(
                f"{dataset.name}: {address} cannot be had ({type(error).__name__}: {error}), "
                f"and {self._no_mirror(dataset)}",
                hint="check the network, or set PERENNIAL_DATA_MIRROR to a folder that holds the file",
            ) from error
        return bytes(chunks)

    def _keep(self, dataset: Dataset, content: bytes, source: str) -> Path:
        digest = hashlib.sha256(content).hexdigest()
        if digest != dataset.sha256:
            raise ChecksumMismatch(
                f"{dataset.name}: {source} has SHA-256 {digest}, the catalogue names {dataset.sha256}",
                hint="the file is damaged or has changed; nothing was stored",
            )
        path = self._downloads / dataset.filename
        files.write_bytes(path, content)
        return path

    def _no_mirror(self, dataset: Dataset) -> str:
        if self._mirror is None:
            return "no mirror folder is set"
        return f"the mirror folder has no {dataset.mirror}"
