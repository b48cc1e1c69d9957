"""Command `tenant`: plan a new tenant, and take places into its possession."""

from __future__ import annotations

import json
import os
import secrets
import string
from pathlib import Path

import click
from pydantic import TypeAdapter, ValidationError

from perennial.commands.output import JSON, print_json, print_table, print_text
from perennial.errors import FileRefused, SettingsError

LENGTH = 32
LETTERS = string.ascii_lowercase + string.digits
KEPT = "passwords.json"
ROOT = "deploy/kustomize"


@click.group()
def tenant() -> None:
    """Plan tenants: plants of their own on shared servers."""


@tenant.command()
@click.argument("name")
@click.option("--people", required=True, help="Accounts of its plant, as ann:approver,bob:viewer.")
@click.option(
    "--postgres", default="postgresql://127.0.0.1:5432", show_default=True, help="Shared PostgreSQL."
)
@click.option(
    "--redis", default="redis://127.0.0.1:6379", show_default=True, help="Redis of this tenant alone."
)
@click.option("--s3", help="Shared S3 server, as http://127.0.0.1:8333.  [default: Amazon's own]")
@click.option("--region", default="us-east-1", show_default=True, help="Region of S3.")
@click.option(
    "--first-port", type=click.IntRange(1024, 65526), help="First of ten ports in a row on its machine."
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Its folder.  [default: tenants/NAME]"
)
@click.option("--manifests", type=click.Path(path_type=Path, file_okay=False), default=Path(ROOT),
              show_default=True, help="Folder of the manifests for Kubernetes.")  # fmt: skip
@JSON
def plan(
    name: str, people: str, postgres: str, redis: str, s3: str | None, region: str, first_port: int | None,
    out: Path | None, manifests: Path, as_json: bool,
) -> None:  # fmt: skip
    """Write what the tenant NAME needs on the servers, and the settings of its plant, into a folder.

    SQL, Redis and S3 accounts, an overlay for Kubernetes, settings, secrets. Changes no server. Given again it keeps
    the passwords and writes the rest anew. Only this account may read the folder.
    """
    from perennial import files
    from perennial.core.tenants.plan import SECRETS, Servers
    from perennial.core.tenants.plan import plan as planned
    from perennial.core.tenants.tenant import Tenant

    new, servers = Tenant(name), Servers(postgres, redis, s3, region)
    folder = (out or Path("tenants") / name).absolute()
    kept = _kept(folder)
    if kept and kept["tenant"] != name:
        raise FileRefused(f"{folder} is of the tenant {kept['tenant']}", hint="name another folder by --out")
    words = {
        word: kept.get(word) or "".join(secrets.choice(LETTERS) for _ in range(LENGTH)) for word in SECRETS
    }
    made = planned(new, servers, people, words, str(folder), os.path.relpath(manifests, folder), first_port)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    # First: were it written last and this stopped before, the next passwords would be others than those in use.
    files.write_text(folder / KEPT, json.dumps({"tenant": name, **words}, indent=2) + "\n", files.PRIVATE)
    files.write_text(folder / ".gitignore", "*\n")
    for path, content in made.items():
        files.write_text(folder / path, content.text, files.PRIVATE if content.is_secret else 0o666)
    rows = [{"file": path, "secret": content.is_secret, "use": content.use} for path, content in made.items()]
    if as_json:
        print_json({"tenant": name, "folder": str(folder), "databases": list(new.databases), "roles": list(new.roles),
                    "bucket": new.bucket,
                    "namespace": new.namespace, "files": rows})  # fmt: skip
        return
    print_table(["file", "use"], [[str(row["file"]), str(row["use"])] for row in rows if row["use"]])
    print_text(f"{folder}: {len(rows)} files; passwords are in them and are not shown")


@tenant.command()
def claim() -> None:
    """Make state folder and database the tenant's of PERENNIAL_TENANT, where they are no tenant's yet.

    For a plant that was there before it became a tenant. What is another tenant's is refused with 83.
    """
    from perennial import settings as environment
    from perennial.wiring import tenancy

    settings = environment.read()
    if settings.tenant is None:
        raise SettingsError("PERENNIAL_TENANT is not set", hint="set it to the name of this plant's tenant")
    tenancy.claim(settings, settings.tenant)
    print_text(f"{settings.state} and the database are the tenant's {settings.tenant}")


def _kept(folder: Path) -> dict[str, str]:
    """Return the passwords of an earlier plan; empty where there is none.

    Raises:
        FileRefused: they cannot be read, or the folder holds something else, which a plan would overwrite.
    """
    path = folder / KEPT
    try:
        kept = TypeAdapter(dict[str, str]).validate_json(path.read_bytes())
    except FileNotFoundError:
        left = f".{KEPT}."  # by a plan that was killed
        if folder.is_dir() and any(not entry.name.startswith(left) for entry in folder.iterdir()):
            raise FileRefused(
                f"{folder} is not empty, and no earlier plan is in it", hint="name a new folder by --out"
            ) from None
        return {}
    except ValidationError:
        kept = {}
    if "tenant" not in kept:
        raise FileRefused(f"{path}: no passwords of a plan", hint="it has those in use: bring it back")
    return kept
