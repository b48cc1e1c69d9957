"""Object storage by the S3 protocol. Keys, region and endpoint are those of the AWS environment.

What is written is encrypted by the storage as PERENNIAL_S3_ENCRYPTION says, here and by MLflow and DVC.
A folder of it may also be one of the disk, for tests and where machines have a disk together.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perennial.encryption.server_side import FORM, VARIABLE, upload_arguments
from perennial.errors import SettingsError, ToolError

S3 = "s3://"


def s3() -> Any:
    """Return the file system of S3.

    Raises:
        SettingsError: its package is not installed, or PERENNIAL_S3_ENCRYPTION has an unknown form.
    """
    encryption = os.environ.get(VARIABLE)
    if encryption is not None and re.fullmatch(FORM, encryption) is None:
        raise SettingsError(f"{VARIABLE} is {encryption}", hint="AES256, aws:kms or aws:kms:KEY")
    try:
        import s3fs
    except ImportError as error:
        raise SettingsError("s3:// needs the package s3fs", hint="pip install 'perennial[s3]'") from error
    return s3fs.S3FileSystem(
        use_listings_cache=False, s3_additional_kwargs=upload_arguments(encryption) or None
    )


@contextmanager
def storage(address: str) -> Iterator[Any]:
    """Yield the file system of S3 to work at an address; its errors become ToolError, but FileNotFoundError stays."""
    files = s3()
    from aiohttp import ClientError
    from botocore.exceptions import BotoCoreError

    try:
        yield files
    except FileNotFoundError:
        raise
    except (OSError, BotoCoreError, ClientError) as error:  # the last: an answer that ends too early
        raise ToolError(
            f"{address}: {error}", hint="see the keys, the endpoint and AWS_CA_BUNDLE of the AWS environment"
        ) from error


class ObjectFolder:
    """Objects below an address; their names are paths.

    Args:
        address: s3://bucket/folder, or file:///folder.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")

    @contextmanager
    def files(self) -> Iterator[Any]:
        """Yield the file system; its errors become ToolError, but FileNotFoundError stays."""
        if self.address.startswith(S3):
            with storage(self.address) as files:
                yield files
            return
        from fsspec.implementations.local import LocalFileSystem

        try:
            yield LocalFileSystem(auto_mkdir=True)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise ToolError(f"{self.address}: {error}", hint="check the rights of the folder") from error

    @contextmanager
    def _bucket(self) -> Iterator[Any]:
        """Yield the file system to write with; where there is no bucket it is a ToolError, too."""
        try:
            with self.files() as files:
                yield files
        except FileNotFoundError as error:
            raise ToolError(f"{self.address}: {error}", hint="does the bucket exist?") from error

    def write(self, name: str, content: bytes) -> None:
        """Store an object."""
        with self._bucket() as files:
            files.pipe_file(f"{self.address}/{name}", content)

    def find(self, name: str) -> bytes | None:
        """Return an object; None where there is none of this name."""
        try:
            with self.files() as files:
                content: bytes = files.cat_file(f"{self.address}/{name}")
        except FileNotFoundError:
            return None
        return content

    def upload(self, name: str, path: Path) -> None:
        """Store a file as an object."""
        with self._bucket() as files:
            files.put_file(str(path), f"{self.address}/{name}")

    def download(self, name: str, path: Path) -> bool:
        """Write an object into a file; return whether there is one of this name."""
        try:
            with self.files() as files:
                files.get_file(f"{self.address}/{name}", str(path))
        except FileNotFoundError:
            return False
        return True

    def remove(self, name: str) -> None:
        """Remove an object."""
        with self.files() as files:
            files.rm_file(f"{self.address}/{name}")

    def names(self, folder: str) -> list[str]:
        """Return the names of all objects below a folder, in order."""
        root = self.address.split("://", 1)[1].rstrip("/")
        with self.files() as files:
            try:
                paths = files.find(f"{self.address}/{folder}")
            except FileNotFoundError:
                return []
        return sorted(path.removeprefix(f"{root}/") for path in paths)
