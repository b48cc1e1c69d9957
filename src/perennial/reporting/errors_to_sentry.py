"""Reports of unexpected errors to Sentry, where PERENNIAL_SENTRY_DSN names a project.

A report has the kind of the error and where in the code it happened, and nothing of the data: a message of an error may
quote a value, and a variable may hold a request. So what is sent is built anew from a list of what may be.
"""

from __future__ import annotations

import logging
from pathlib import PurePath
from typing import Any

from perennial.errors import PackageMissing, SettingsError

Event = dict[str, Any]
OF_EVENT = ("event_id", "timestamp", "platform", "level", "release", "sdk")
OF_FRAME = ("module", "function", "lineno", "in_app")
FLUSH_SECONDS = 2.0


def start(dsn: str | None, process: str, release: str) -> None:
    """Report the errors that end this process or a thread of it, and those that are logged with their traceback.

    Errors that Perennial expects are answers to a person, and are not reported. Repeating it changes nothing.

    Args:
        dsn: address of the Sentry project; None: nothing is reported, and the library is not loaded.
        process: name that the reports have.
        release: version of the package.

    Raises:
        PackageMissing: sentry-sdk is not installed.
        SettingsError: the address has no known form; it is not quoted, since it is a secret.
    """
    if not dsn:
        return
    try:
        import sentry_sdk
        from sentry_sdk.integrations.atexit import AtexitIntegration
        from sentry_sdk.integrations.dedupe import DedupeIntegration
        from sentry_sdk.integrations.excepthook import ExcepthookIntegration
        from sentry_sdk.integrations.logging import LoggingIntegration
        from sentry_sdk.integrations.threading import ThreadingIntegration
        from sentry_sdk.utils import BadDsn
    except ModuleNotFoundError as error:
        raise PackageMissing(
            "PERENNIAL_SENTRY_DSN is set, and sentry-sdk is not installed",
            hint="pip install 'perennial[sentry]', or unset it",
        ) from error
    if sentry_sdk.is_initialized():
        return

    def scrubbed(event: Event, hint: Event) -> Event | None:
        return scrub(event, process)

    try:
        sentry_sdk.init(
            dsn=dsn,
            release=f"perennial@{release}",
            before_send=scrubbed,  # type: ignore[arg-type]
            # By name: the others would read requests, arguments of commands and queries.
            default_integrations=False,
            auto_enabling_integrations=False,
            integrations=[
                AtexitIntegration(callback=lambda pending, timeout: None),
                DedupeIntegration(),
                ExcepthookIntegration(),
                LoggingIntegration(level=None, event_level=logging.ERROR),
                ThreadingIntegration(propagate_scope=False),
            ],
            send_default_pii=False,
            include_local_variables=False,
            include_source_context=False,
            max_request_body_size="never",
            max_breadcrumbs=0,
            auto_session_tracking=False,
            send_client_reports=False,
            shutdown_timeout=FLUSH_SECONDS,
        )
    except BadDsn:
        raise SettingsError(
            "PERENNIAL_SENTRY_DSN is no address of a Sentry project", hint="https://KEY@HOST/PROJECT"
        ) from None


def scrub(event: Event, process: str) -> Event | None:
    """Return what of an event is sent; None for one that is no error with a traceback."""
    errors = (event.get("exception") or {}).get("values") or []
    if not errors:
        return None
    return {
        **{name: event[name] for name in OF_EVENT if name in event},
        "tags": {"process": process},
        "exception": {"values": [_error(error) for error in errors]},
    }


def _error(error: Event) -> Event:
    frames = (error.get("stacktrace") or {}).get("frames") or []
    return {
        "type": error.get("type"),
        "module": error.get("module"),
        "mechanism": {"type": "generic", "handled": (error.get("mechanism") or {}).get("handled")},
        "stacktrace": {"frames": [_frame(frame) for frame in frames]},
    }


def _frame(frame: Event) -> Event:
    filename = str(frame.get("filename") or "")
    # An absolute path names folders of this machine, and maybe a person.
    shown = PurePath(filename).name if PurePath(filename).is_absolute() else filename
    return {**{name: frame[name] for name in OF_FRAME if name in frame}, "filename": shown}
