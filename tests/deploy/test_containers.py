"""The containers of compose.yaml, run natively: from an empty folder, with a read-only project, as another user."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import yaml
from containers.described import ROOT, Container, pod_containers, service
from containers.manifests import KUSTOMIZE, template_of
from containers.native import Machine, prefix_of
from postgres_server import BINARIES

from perennial.encryption.keyring import generate

pytestmark = [pytest.mark.server, pytest.mark.timeout(1200)]
PORTS = {
    "PERENNIAL_PORT_ENVOY": "8000", "PERENNIAL_PORT_MLFLOW": "5050", "PERENNIAL_PORT_AIRFLOW": "8080",
    "PERENNIAL_PORT_MONITOR": "9300", "PERENNIAL_PORTS_STABLE": "3101,3102", "PERENNIAL_PORTS_STABLE_GRPC": "3201,3202",
    "PERENNIAL_PORTS_CANARY": "3111", "PERENNIAL_PORTS_CANARY_GRPC": "3211",
}  # fmt: skip
ADDRESSES = (
    "owner_database_url", "database_url", "recorder_database_url", "mlflow_database_url", "airflow_database_url",
    "tuning_url",
)  # fmt: skip
ROLES = {
    "owner": "plant", "plant": "plant", "recorder": "plant",
    "mlflow": "mlflow", "airflow": "airflow", "tuning": "tuning",
}  # fmt: skip
"""Role -> the one database that it may use."""
DATABASES = tuple(dict.fromkeys(ROLES.values()))
STARTED = ("edge", "server-stable-1", "monitor", "guard")
SLOW = ("mlflow", "airflow-api-server", "airflow-dag-processor", "airflow-triggerer", "trainer")
GRACE_S = 300.0


class Plant:
    """The core of compose.yaml, but for its two stores: PostgreSQL is that of the tests, and S3 is not there."""

    def __init__(self, database: str) -> None:
        self.machine = Machine(PORTS)
        self.secrets = self.machine.path("/run/secrets")
        subprocess.run([ROOT / "docker" / "make-secrets.sh", self.secrets], check=True, capture_output=True)
        self.address = urlsplit(database)
        self.make_databases()
        for name in ADDRESSES:
            text = (self.secrets / name).read_text()
            (self.secrets / name).write_text(text.replace("postgres:5432", f"127.0.0.1:{self.address.port}"))
        for name in ("admit-plant", "admit-recorder", "setup"):
            self.machine.run(service(name))
        self.key = self.machine.run(service("tools", "key", "add", "first")).split()[-1]

    def start(self, *names: str) -> None:
        for name in names:
            self.machine.start(service(name))
        for name in names:
            if service(name).health:
                self.machine.until_healthy(service(name))

    def psql(self, database: str, text: str) -> str:
        command = [
            BINARIES[-1] / "psql",
            "-At",
            "-h",
            "127.0.0.1",
            "-p",
            str(self.address.port),
            "-U",
            "perennial",
        ]
        done = subprocess.run([*command, database, "-c", text], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def remove(self) -> None:
        self.machine.remove()
        for name in DATABASES:
            self.psql("postgres", f"DROP DATABASE {name} WITH (FORCE)")
        for name in ROLES:
            self.psql("postgres", f"DROP ROLE {name}")

    def make_databases(self) -> None:
        environment = {
            **os.environ, "PATH": f"{BINARIES[-1]}:{os.environ['PATH']}", "SECRETS": str(self.secrets),
            "PGHOST": "127.0.0.1", "PGPORT": str(self.address.port), "POSTGRES_USER": "perennial",
            "PGDATABASE": "postgres",
        }  # fmt: skip
        script = ROOT / "docker" / "postgres" / "databases.sh"
        subprocess.run([script], env=environment, check=True, capture_output=True)


@pytest.fixture(scope="module")
def plant(postgres) -> Iterator[Plant]:
    plant = Plant(postgres)
    try:
        plant.start(*STARTED)
        yield plant
    finally:
        plant.remove()


def ask(plant: Plant, method: str, path: str, **headers: str) -> int:
    address = f"http://127.0.0.1:{plant.machine.port(8000)}{path}"
    return httpx.request(method, address, headers=headers, timeout=10, trust_env=False).status_code


def test_a_client_enters_with_a_key_only(plant):
    assert ask(plant, "GET", "/v2/health/ready") == 200
    assert ask(plant, "POST", "/v1/feedback") == 401
    assert ask(plant, "POST", "/v1/feedback", authorization=f"Bearer {plant.key}") in (400, 403)


def test_what_is_exposed_listens(plant):
    for container in map(service, STARTED):
        for port in container.exposed:
            httpx.get(f"http://127.0.0.1:{plant.machine.port(port)}/", timeout=10, trust_env=False)


def test_the_records_are_in_the_database_of_the_secret(plant):
    """The guard and the commands of people use the same ledger."""
    assert owners(plant) == {"owner"}
    assert not list(plant.machine.path("/state").rglob("perennial.db"))


def owners(plant: Plant) -> set[str]:
    """Return who owns our tables."""
    query = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
    return set(plant.psql("plant", query).split())


def test_each_process_has_the_role_that_may_do_least(plant):
    """Only the pages that people open record with a role that can do nothing else."""
    handed = plant.machine.path("/state/perennial/secrets/processes")
    roles = {path.parent.name: urlsplit(path.read_text()).username for path in handed.glob("*/database_url")}
    assert {name for name, role in roles.items() if role == "recorder"} == {"mlflow", "airflow-api-server"}
    assert set(roles.values()) == {"plant", "recorder"}
    for role, right, allowed in (
        ("plant", "INSERT", "t"), ("plant", "UPDATE", "f"), ("plant", "DELETE", "f"),
        ("recorder", "INSERT", "t"), ("recorder", "UPDATE", "f"), ("recorder", "DELETE", "f"),
    ):  # fmt: skip
        asked = f"SELECT has_table_privilege('{role}', 'perennial_ledger', '{right}')"
        assert plant.psql("plant", asked) == allowed, (role, right)


def test_the_script_of_the_databases_takes_tables_from_the_role_that_owned_them(plant):
    """As over a volume of before: it may be run again, and changes nothing else."""
    plant.psql("plant", "CREATE TABLE of_before (number int)")
    plant.psql("plant", "ALTER TABLE of_before OWNER TO plant")
    try:
        plant.make_databases()
        assert owners(plant) == {"owner"}
    finally:
        plant.psql("plant", "DROP TABLE of_before")


def test_airflow_has_its_tables_where_its_setting_says(plant):
    assert plant.psql("airflow", "SELECT count(*) > 0 FROM pg_tables WHERE tableowner = 'airflow'") == "t"
    assert not list(plant.machine.path("/state").rglob("airflow.db"))


@pytest.mark.parametrize("role", ROLES)
def test_a_role_of_a_database_may_do_nothing_else(plant, role):
    for database in (*DATABASES, "postgres", "template1"):
        asked = f"SELECT has_database_privilege('{role}', '{database}', 'CONNECT')"
        assert plant.psql("postgres", asked) == ("t" if database == ROLES[role] else "f"), database
    mighty = "SELECT rolname FROM pg_roles WHERE rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication"
    assert role not in plant.psql("postgres", mighty).split()
    members = "SELECT member::regrole FROM pg_auth_members"
    assert role not in plant.psql("postgres", members).split()


def test_no_process_has_a_secret_in_its_environment(plant):
    values = [
        (plant.secrets / name).read_text() for name in (*ADDRESSES, "celery_broker_url", "online_store")
    ]
    for name, process in plant.machine.running().items():
        environment = Path(f"/proc/{process.pid}/environ").read_bytes().decode()
        assert not any(value in environment for value in values), name


def test_every_process_is_the_user_of_its_container(plant):
    if not prefix_of(10001):
        pytest.skip("only root starts processes as others, and not everywhere")
    for name, process in plant.machine.running().items():
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert f"Uid:\t{service(name).user.partition(':')[0]}\t" in status, name
        assert "NoNewPrivs:\t1" in status, name


def job(name: str) -> Container:
    """Return the container of a job of kustomize/components/backup; S3 is not there, so without what lies in it."""
    manifest = yaml.safe_load((KUSTOMIZE / "components" / "backup" / f"{name}.yaml").read_text())
    (container,) = pod_containers(template_of(manifest)["spec"])
    given = {
        key: value for key, value in container.environment.items() if "AWS" not in key and "DVC" not in key
    }
    return replace(container, environment=given)


@pytest.fixture(scope="module")
def backed_up(plant) -> Path:
    """The backup that the job makes while the plant runs; secrets are where its pod has them."""
    secrets = plant.machine.path("/secrets")
    for name in ADDRESSES:
        (secrets / name).write_text((plant.secrets / name).read_text())
    generate(secrets / "encryption_keys", "of-test")
    (secrets / "encryption_keys").chmod(0o644)
    (secrets / "passphrase").write_text("a long passphrase")
    said = plant.machine.run(job("backup"))
    (made,) = plant.machine.path("/backups").glob("2*")
    assert f"{made}: " in said
    assert "encrypted by the key of-test" in said
    return made


def test_the_job_of_a_backup_saves_the_plant(backed_up):
    saved = {path.relative_to(backed_up).as_posix() for path in backed_up.rglob("*") if path.is_file()}
    databases = {f"databases/{name}.dump.enc" for name in ("perennial", "mlflow", "airflow", "tuning")}
    assert databases | {"manifest.json.enc", "keys.sealed.enc"} <= saved
    assert all(name.endswith(".enc") for name in saved)


@pytest.mark.deep
def test_the_job_of_a_restore_makes_the_plant_again(plant, backed_up):
    """In empty databases and another state folder: the chain of the ledger holds there."""
    copies = {name: f"restored_{name}" for name in DATABASES}
    for role, database in {**ROLES, "plant": "", "recorder": ""}.items():
        if database:
            plant.psql("postgres", f"CREATE DATABASE {copies[database]} OWNER {role}")
    secrets, elsewhere = plant.machine.path("/secrets"), "/state/restored"
    before = {name: (secrets / name).read_text() for name in ADDRESSES}
    restore = job("restore")
    restore = replace(
        restore,
        command=tuple(word.replace("$(BACKUP)", backed_up.name) for word in restore.command),
        environment={**restore.environment, "PERENNIAL_HOME": elsewhere},
    )
    try:
        for name, text in before.items():
            head, _, database = text.strip().rpartition("/")
            (secrets / name).write_text(f"{head}/{copies[database]}")
        plant.machine.run(restore)
        verify = replace(restore, command=("perennial", "ledger", "verify"))
        assert "holds" in plant.machine.run(verify)
        assert (plant.machine.path(elsewhere) / "accounts.json").is_file()
    finally:
        for name, text in before.items():
            (secrets / name).write_text(text)
        for copy in copies.values():
            plant.psql("postgres", f"DROP DATABASE {copy} WITH (FORCE)")


@pytest.mark.deep
def test_mlflow_and_airflow_become_healthy(plant):
    """Two minutes of a core, so not in every run; `tests/e2e` starts the same commands under supervisord."""
    plant.start(*SLOW)


def test_every_container_ends_when_it_is_asked_to(plant):
    """The last test: nothing is left running by it."""
    for name in plant.machine.running():
        plant.machine.stop(name, GRACE_S)
    project = plant.machine.path("/project")
    assert sorted(path.name for path in project.iterdir()) == ["configs"]
