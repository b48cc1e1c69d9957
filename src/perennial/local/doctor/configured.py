"""Checks of what is written down: settings, model specs, pins of packages."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import metadata

from packaging.version import Version

from perennial import account_file, catalog
from perennial.errors import SpecError
from perennial.local import databases, unix_accounts
from perennial.local.doctor.finding import Finding, State, attempt, problem
from perennial.secret_settings import references
from perennial.secret_sources.reference import FILE, VAULT
from perennial.serving.access.client_keys import ClientKeys, refuse_open_door
from perennial.serving.evidence.sources import FeedbackSources
from perennial.settings import PREFIX, Settings
from perennial.state_folder import owner_of

PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)")
SHOWN = 5
"""Packages that a finding names; more are counted."""
PROGRAMS = {"git": "data revisions need it: install git"}


def values(settings: Settings) -> Iterator[Finding]:
    """Check settings that are read where they are used."""
    checks: dict[str, Callable[[], object]] = {
        "ports": lambda: settings.named_ports,
        "certificate files": lambda: (settings.pages_tls, settings.trusted_certificates),
        "JWT": lambda: settings.jwt,
        "accounts": lambda: (settings.accounts, settings.given_passwords),
        "sign-in": lambda: settings.oidc,
        "Unix accounts": lambda: unix_accounts.read(settings),
        "clients": lambda: refuse_open_door(settings),
        "databases": lambda: databases.check(settings),
        "vault": lambda: settings.vault_address is None or settings.vault_server,
    }
    findings = [attempt(f"settings: {name}", partial(_valid, read)) for name, read in checks.items()]
    yield from _problems(findings) or [Finding("settings", State.OK, f"valid{_sources(settings)}")]


def _sources(settings: Settings) -> str:
    """Return where the secrets came from, which are all read by now."""
    named = [reference.scheme for reference in references(PREFIX).values()]
    texts = {FILE: "of files", VAULT: f"of {settings.vault_address}"}
    counts = [f"{named.count(scheme)} {text}" for scheme, text in texts.items() if scheme in named]
    return f"; secrets: {', '.join(counts)}" if counts else ""


def tenant(settings: Settings) -> Iterator[Finding]:
    """Show whose plant this is; the database is looked at where it is asked."""
    owner = owner_of(settings.state)
    if settings.tenant is None:
        yield Finding("tenant", State.OK, "none: this plant has its servers for itself")
    elif owner is None:
        yield Finding(
            "tenant", State.DOWN, f"{settings.tenant}; its state folder is empty", "perennial local setup"
        )
    else:
        yield Finding("tenant", State.OK, f"{settings.tenant}, by the settings and by {settings.state}")


def _problems(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.state is not State.OK]


def _valid(read: Callable[[], object]) -> str:
    read()
    return "valid"


def key_files(settings: Settings) -> Iterator[Finding]:
    """Check that the files of accounts and keys can be read by us and by nobody else."""
    if settings.accounts_file.exists():
        yield attempt("accounts file", lambda: f"{len(account_file.read(settings.accounts_file))} accounts")
    elif settings.plane != "serving":  # which has no accounts
        yield Finding("accounts file", State.DOWN, "nothing is set up yet", "perennial local setup")
    yield attempt("client keys", lambda: f"{len(ClientKeys(settings.client_keys).all())} keys")
    yield attempt("feedback keys", lambda: f"{len(FeedbackSources(settings.feedback_sources).all())} sources")


def specs(settings: Settings) -> Iterator[Finding]:
    """Check the YAML file of every model, and each feature view."""
    sound, wrong = catalog.read_all(settings)
    wrong_views = {}
    for path in sorted((settings.configs / "features").glob("*.yaml")):
        try:
            catalog.feature_view(path)
        except SpecError as error:
            wrong_views[path.stem] = error
    yield from (problem(f"model {name}", error) for name, error in wrong.items())
    yield from (problem(f"feature view {name}", error) for name, error in wrong_views.items())
    if not wrong and not wrong_views:
        yield Finding("models", State.OK, f"{len(sound)} specs are valid")


def packages(settings: Settings) -> Iterator[Finding]:
    """Compare the installed packages with the pins that were tested together."""
    version = sys.version_info
    if (version.major, version.minor) != (3, 11):
        yield Finding(
            "Python",
            State.PROBLEM,
            f"Python {version.major}.{version.minor} runs",
            "make setup uses Python 3.11",
        )
    for program, fix in PROGRAMS.items():
        if shutil.which(program) is None:
            yield Finding(program, State.PROBLEM, f"there is no {program} on PATH", fix)
    pins = settings.shipped("constraints.txt")
    if not pins.is_file():
        yield Finding(
            "packages", State.WARNING, f"there are no pins: {pins} is missing", "install Perennial again"
        )
        return
    wanted = dict(match.groups() for line in pins.read_text().splitlines() if (match := PIN.match(line)))
    others = [
        f"{name} {installed} instead of {pin}"
        for name, pin in wanted.items()
        if (installed := _installed(name)) is not None and Version(installed).public != Version(pin).public
    ]
    missing = sorted(name for name in _needed() if _installed(name) is None)
    if others or missing:
        wrong = [f"{name} is missing" for name in missing] + others
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        fix = f"make setup, or: pip install -c {pins} perennial"
        yield Finding("packages", State.PROBLEM, ", ".join(wrong[:SHOWN]) + more, fix)
    else:
        yield Finding("packages", State.OK, f"as the {len(wanted)} pins of {pins}")


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _needed() -> set[str]:
    """Return the packages that Perennial itself names, without those of its extras."""
    required = metadata.requires("perennial") or []
    return {re.split(r"[^A-Za-z0-9._-]", text)[0] for text in required if "extra ==" not in text}
