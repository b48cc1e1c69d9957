"""Encryption by S3 itself: PERENNIAL_S3_ENCRYPTION, and what a call that writes an object says for it."""

from __future__ import annotations

VARIABLE = "PERENNIAL_S3_ENCRYPTION"
FORM = r"^(AES256|aws:kms(:[A-Za-z0-9:/_-]+)?)$"
"""AES256 (SSE-S3), aws:kms (SSE-KMS by the key of the bucket), or aws:kms:KEY with the id or ARN of a key."""
_WITH_KEY = "aws:kms:"


def upload_arguments(encryption: str | None) -> dict[str, str]:
    """Return the arguments of each S3 call that writes an object, as boto3 and MLflow take them."""
    if encryption is None:
        return {}
    if not encryption.startswith(_WITH_KEY):
        return {"ServerSideEncryption": encryption}
    return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": encryption.removeprefix(_WITH_KEY)}
