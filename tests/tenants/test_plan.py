"""The plan of a tenant: names that clash with nobody's, private files, the same again, settings that the code reads."""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
from pathlib import Path

import jsonpatch
import pytest
import yaml
from containers.manifests import KUSTOMIZE, build, builder, pods

from perennial.adapters.sql.rights import statements
from perennial.cli import main
from perennial.core.governance.database_use import DatabaseUse
from perennial.core.tenants import databases
from perennial.core.tenants.cluster import LIMITS
from perennial.core.tenants.plan import SECRETS, Servers, plan
from perennial.core.tenants.tenant import PARTS, USERS, Tenant
from perennial.errors import FileRefused, UsageError
from perennial.settings import load

ROOT = Path(__file__).resolve().parents[2]
PEOPLE = "ann:approver,ben:operator"
SERVERS = Servers("postgresql://db.example.com:5432?sslmode=verify-full", "redis://r.example.com:6380", None)


def planned(name: str = "acme", servers: Servers = SERVERS, **more) -> dict[str, str]:
    words = {word: f"{name}-{word}" for word in SECRETS}
    files = plan(Tenant(name), servers, PEOPLE, words, f"/srv/{name}", "../deploy/kustomize", **more)
    return {path: file.text for path, file in files.items()}


@pytest.mark.parametrize("name", ["Acme", "a", "a_b", "a-b", "1a", "acme ", "ac/me", "a" * 21, "é" * 3, ""])
def test_other_names_are_refused(name):
    with pytest.raises(UsageError, match="is not 2 to 20"):
        Tenant(name)


@pytest.mark.parametrize("name", ["perennial", "mlflow", "recorder", "postgres", "pg", "public", "root"])
def test_names_that_a_server_has_already_are_refused(name):
    with pytest.raises(UsageError, match="reserved"):
        Tenant(name)


def test_no_tenant_gets_the_namespace_of_an_overlay_that_we_ship():
    spaces = {
        re.search(r"^  name: (\S+)", path.read_text(), re.MULTILINE)[1]
        for path in KUSTOMIZE.rglob("namespace.yaml")
    }
    assert {"perennial-edge", "perennial-staging"} <= spaces
    for name in spaces - {"perennial"}:
        with pytest.raises(UsageError, match="reserved"):
            Tenant(name.removeprefix("perennial-"))


def test_the_label_that_opens_a_plant_without_a_tenant_opens_no_tenants():
    policy = yaml.safe_load((KUSTOMIZE / "base/plant/network-policy.yaml").read_text())
    labels = {
        value
        for rule in policy["spec"]["ingress"]
        for who in rule["from"]
        for value in who.get("namespaceSelector", {}).get("matchLabels", {}).values()
    }
    assert "true" in labels
    for label in labels:
        with pytest.raises(UsageError, match="reserved"):
            Tenant(label)


def test_a_name_that_is_a_word_of_sql_is_quoted_everywhere():
    lines = databases.script(Tenant("user"), dict.fromkeys((*PARTS, *USERS), "x")).splitlines()
    bare = [line for line in lines if re.search(r"""(?<!["'\w])user(?!["'\w])""", line)]
    assert [line for line in bare if "of the tenant user:" not in line] == [r"\connect user"]
    admitted = statements("user", DatabaseUse.PLANT, "user", "public")
    assert not [line for line in admitted if re.search(r"(TO|FROM) user", line)]


def test_no_two_tenants_share_a_role_a_bucket_or_a_namespace():
    tenants = [Tenant(name) for name in ("acme", "acme2", "acmemlflow", "globex")]
    roles = [role for tenant in tenants for role in tenant.roles]
    assert len(set(roles)) == len(roles)
    assert len({tenant.bucket for tenant in tenants}) == len(tenants)
    assert not [role for role in roles if len(role.encode()) > 63]


@pytest.mark.parametrize(
    "address", ["db.example.com:5432", "postgresql://me:pw@db:5432", "postgresql://db/acme", "redis://db:1"]
)
def test_an_address_with_an_account_or_of_another_kind_is_refused(address):
    with pytest.raises(UsageError, match="no address of a server"):
        Servers(address, "redis://r:1", None)


@pytest.mark.parametrize("people", ["", "ann", "ann:admin", "training:viewer"])
def test_a_tenant_has_people_of_its_own(people):
    with pytest.raises(UsageError, match="people"):
        plan(Tenant("acme"), SERVERS, people, dict.fromkeys(SECRETS, "x"), "/srv/acme", "..")


def test_the_statements_for_one_plant_are_those_of_the_guide():
    guide = re.search(r"```sql\n(.*?)```", (ROOT / "docs/guide/production.md").read_text(), re.DOTALL)
    assert guide is not None
    lines = [line.partition("  -- ")[0] for line in guide[1].splitlines() if not line.startswith("--")]
    made = databases.statements({part: f"{part}-of-the-test" for part in PARTS})
    of_processes = [line for line in lines if re.match("CREATE ROLE (plant|recorder) ", line)]
    assert [line for line in lines if line not in of_processes] == [
        *(line.replace('"', "") for line in made),
        *databases.hardening("perennial"),
    ]


def test_a_secret_is_in_private_files_only_and_each_address_has_its_own():
    files = plan(Tenant("acme"), SERVERS, PEOPLE, {word: f"word-of-{word}" for word in SECRETS}, "/srv", "..")
    public = "".join(file.text for file in files.values() if not file.is_secret)
    assert "word-of-" not in public
    for path, words in {"database_url": {"plant"}, "recorder_database_url": {"recorder"},
                        "../owner_database_url": {"perennial"}, "mlflow_database_url": {"mlflow"}, "dvc_remote": set(),
                        "s3_reader": {"reader_key", "reader_secret"}, "online_store": {"redis"}}.items():  # fmt: skip
        assert set(re.findall(r"word-of-(\w+)", files[os.path.normpath(f"secrets/{path}")].text)) == words


def test_the_options_of_the_servers_are_kept():
    files = planned(servers=Servers(SERVERS.postgres, "rediss://r.example.com", "https://s3.example.com"))
    assert files["secrets/database_url"].endswith("@db.example.com:5432/acme?sslmode=verify-full")
    assert files["secrets/celery_broker_url"].startswith("rediss://acme:")
    assert "tls-port 6379" in files["redis.conf"].splitlines()
    assert "endpoint_url = https://s3.example.com" in files["secrets/s3_config"]


def test_the_overlay_names_what_the_base_has():
    overlay = yaml.safe_load(planned()["kustomization.yaml"])
    pod = yaml.safe_load((KUSTOMIZE / "base/plant/stateful-set.yaml").read_text())["spec"]["template"]["spec"]
    wanted = {item["key"] for volume in pod["volumes"] for item in volume.get("secret", {}).get("items", ())}
    wanted |= set(re.findall(r"\"/secrets/(\w+)", json.dumps(pod)))
    assert {Path(path).name for path in overlay["secretGenerator"][0]["files"]} == wanted
    (patch,) = overlay["patches"]
    policy = yaml.safe_load((KUSTOMIZE / "base/plant/network-policy.yaml").read_text())
    opened = jsonpatch.apply_patch(policy, yaml.safe_load(patch["patch"]))["spec"]["ingress"]
    assert [rule["from"] for rule in opened] == [
        [{"namespaceSelector": {"matchLabels": {f"perennial/{who}": "acme"}}}]
        for who in ("clients", "people")
    ]
    assert [rule["ports"] for rule in opened] == [rule["ports"] for rule in policy["spec"]["ingress"]]


def test_the_plant_fits_into_the_limits():
    body = yaml.safe_load((KUSTOMIZE / "base/plant/stateful-set.yaml").read_text())
    for kind in ("requests", "limits"):
        for resource in ("cpu", "memory"):
            used = sum(
                amount(container["resources"][kind][resource])
                for container in body["spec"]["template"]["spec"]["containers"]
            )
            assert 0 < used <= amount(LIMITS[f"{kind}.{resource}"]), (kind, resource)


def amount(text: str) -> float:
    units = {"m": 0.001, "Mi": 2**20, "Gi": 2**30}
    number, unit = re.fullmatch(r"(\d+)(\w*)", text).groups()
    return int(number) * units.get(unit, 1)


def test_the_overlay_builds(tmp_path):
    if not builder():
        pytest.skip("no kustomize of version 5 on this machine")
    base = ["--manifests", str(KUSTOMIZE), "--out", str(tmp_path / "acme")]
    assert main(["tenant", "plan", "acme", "--people", PEOPLE, *base]) == 0
    built = build(tmp_path / "acme")
    assert {body["metadata"].get("namespace", "perennial-acme") for body in built} == {"perennial-acme"}
    assert [name for name, _, _ in pods(built)] == ["plant"]


@pytest.fixture
def given(monkeypatch):
    """No setting of the caller."""
    for name in [name for name in os.environ if name.startswith(("PERENNIAL_", "AWS_"))]:
        monkeypatch.delenv(name)
    return monkeypatch


def test_the_command_writes_settings_that_the_code_reads(given, tmp_path, capsys):
    out = tmp_path / "acme"
    line = ["tenant", "plan", "acme", "--people", PEOPLE, "--out", str(out), "--first-port", "4100"]
    assert main([*line, "--json"]) == 0
    printed = capsys.readouterr().out
    words = json.loads((out / "passwords.json").read_text())
    assert not [word for name, word in words.items() if name != "tenant" and word in printed]
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert (out / ".gitignore").read_text() == "*\n"
    for row in json.loads(printed)["files"]:
        assert stat.S_IMODE((out / row["file"]).stat().st_mode) & 0o077 == 0 or not row["secret"], row
    for name, value in (part.split("=", 1) for part in shlex.split((out / "settings.env").read_text())):
        given.setenv(name, value)
    settings = load()
    assert settings.tenant == "acme"
    assert settings.database.endswith("/acme")
    assert settings.online_store.endswith("/1")
    assert settings.tracking == settings.pages_mlflow, "people ask MLflow's server, and not its database"
    assert sorted(settings.named_ports.values()) == list(range(4100, 4110))
    assert [account.name for account in settings.accounts] == ["admin", "training", "release", "ann", "ben"]
    assert settings.keys_required
    before = {path: path.read_text() for path in out.rglob("*") if path.is_file()}
    assert main(line) == 0
    assert {path: path.read_text() for path in out.rglob("*") if path.is_file()} == before


def test_the_folder_of_another_tenant_is_refused(given, tmp_path, capsys):
    line = ["--people", PEOPLE, "--out", str(tmp_path)]
    assert main(["tenant", "plan", "acme", *line]) == 0
    before = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert main(["tenant", "plan", "globex", *line]) == FileRefused.exit_code
    for broken in ("{", "[1]", '{"redis": "x"}', '{"tenant": 3}'):
        (tmp_path / "passwords.json").write_text(broken)
        assert main(["tenant", "plan", "acme", *line]) == FileRefused.exit_code
    (tmp_path / "passwords.json").write_text(before[tmp_path / "passwords.json"])
    assert {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_folder_with_something_else_is_left_alone(given, tmp_path):
    """As the folder of a project, whose .gitignore and namespace.yaml would be replaced."""
    (tmp_path / ".gitignore").write_text("*.pyc\n")
    tmp_path.chmod(0o755)
    line = ["tenant", "plan", "acme", "--people", PEOPLE, "--out", str(tmp_path)]
    assert main(line) == FileRefused.exit_code
    assert [path.name for path in tmp_path.iterdir()] == [".gitignore"]
    assert (tmp_path / ".gitignore").read_text() == "*.pyc\n"
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    (tmp_path / ".gitignore").rename(
        tmp_path / ".passwords.json.7"
    )  # what a kill leaves is no reason to refuse
    assert main(line) == 0
