"""Feast without its progress bars and warnings."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator

import ibis


@contextlib.contextmanager
def quiet_feast() -> Iterator[None]:
    """Suppress the progress bars and deprecation warnings of Feast; errors are raised as usual.

    Its DuckDB connection is closed too: at the end of the process it would print a list of leaked objects.
    """
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", "On demand feature view is an experimental feature")
        try:
            yield
        finally:
            if ibis.options.default_backend is not None:
                ibis.options.default_backend.disconnect()
                ibis.options.default_backend = None
