"""Object storage by the S3 protocol. Keys, region and endpoint are those of the AWS environment.

What is written is encrypted by the storage as PERENNIAL_S3_ENCRYPTION says, here and by MLflow and DVC.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
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
    from botocore.exceptions import BotoCoreError

    try:
        yield files
    except FileNotFoundError:
        raise
    except (OSError, BotoCoreError) as error:
        raise ToolError(
            f"{address}: {error}", hint="see the keys and the endpoint of the AWS environment"
        ) from error
