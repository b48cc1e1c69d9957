"""Names of those who send requests and labels: clients with a key, and feedback sources. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

from perennial.errors import UsageError

NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
JWT = "jwt-"
"""Begin of the name of a client that signs in with a JWT, so that no token passes for a key."""


def check_name(name: str, holder: str, taken: Collection[str]) -> None:
    """Check that a key may be given to this name: a label is counted by the name of its sender.

    Args:
        holder: `client` or `source`.
        taken: names of the other kind of holders.

    Raises:
        UsageError: the name cannot be used.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name of a {holder}", hint="small letters, digits and -")
    if name in taken or name.startswith(JWT):
        raise UsageError(f"{name!r} is the name of another sender of feedback", hint="choose another name")
