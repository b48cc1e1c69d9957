"""jsonschema with a grammar of IRIs (RFC 3987) that is compiled when the first IRI is checked.

The library compiles it when it is imported, which takes more than a second of CPU, and libraries import jsonschema for
other reasons. Import this module before them.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType

GRAMMAR = "rfc3987_syntax"


def is_valid_syntax(term: str, value: str) -> bool:
    """Return whether a text has the syntax of a term of RFC 3987; stands in for the function of the same name."""
    from rfc3987_syntax import is_valid_syntax as check

    return bool(check(term, value))


if GRAMMAR not in sys.modules and "jsonschema" not in sys.modules and find_spec(GRAMMAR) is not None:
    stand_in = ModuleType(GRAMMAR)
    stand_in.is_valid_syntax = is_valid_syntax  # type: ignore[attr-defined]
    sys.modules[GRAMMAR] = stand_in
    try:
        import jsonschema  # noqa: F401 keeps the function above
    finally:
        del sys.modules[GRAMMAR]
