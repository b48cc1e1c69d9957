"""All errors that Perennial raises on purpose.

`python -m perennial.every_error` prints the table of docs/guide/errors.md.
"""

from __future__ import annotations

from collections.abc import Iterator

from perennial import secret_errors
from perennial.errors import PerennialError

MODULES = (secret_errors,)
"""Modules beside `errors` whose classes have to exist."""


def all_errors(kind: type[PerennialError] = PerennialError) -> Iterator[type[PerennialError]]:
    """Yield the class and its subclasses, depth first."""
    yield kind
    for child in kind.__subclasses__():
        yield from all_errors(child)


def error_table() -> str:
    """Return the Markdown table of all errors, ordered by exit code."""
    rows = (
        f"| {error.exit_code} | {error.http_status} | `{error.__name__}` | {error.__doc__} |\n"
        for error in sorted(all_errors(), key=lambda error: error.exit_code)
    )
    return "| exit code | HTTP status | error | meaning |\n| --- | --- | --- | --- |\n" + "".join(rows)


if __name__ == "__main__":
    print(error_table(), end="")
