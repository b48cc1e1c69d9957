"""Two tenants, made from their plans on the same PostgreSQL and S3: neither reaches anything of the other's."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import psycopg
import pytest
import redis as redis_client
from backends.servers import S3, Postgres, Server
from command_line.tree import commands
from psycopg import sql
from redis.backoff import NoBackoff
from redis.retry import Retry
from serving_stack import free_ports

from perennial.cli import OF_NO_TENANT, main
from perennial.core.tenants.tenant import USERS, Tenant

pytestmark = [pytest.mark.production, pytest.mark.timeout(900)]
ACME, GLOBEX = "acme", "globex"
PEOPLE = "ann:approver,vic:viewer"
ADMIN = ("admin-key", "admin-secret")
ONCE = Retry(NoBackoff(), 0)
OWNERS = ("../owner_database_url", "mlflow_database_url", "airflow_database_url", "tuning_url")
ADDRESSES = (*OWNERS, "database_url", "recorder_database_url")


class Plan:
    """What `perennial tenant plan` has made."""

    def __init__(self, name: str, folder: Path, postgres: int) -> None:
        self.tenant, self.folder = Tenant(name), folder
        (self.redis_port,) = free_ports(1)
        redis = f"redis://127.0.0.1:{self.redis_port}"
        line = ["tenant", "plan", name, "--people", PEOPLE, "--out", str(folder), "--redis", redis]
        assert main([*line, "--postgres", f"postgresql://127.0.0.1:{postgres}"]) == 0

    def text(self, path: str) -> str:
        return (self.folder / path).read_text()

    def address(self, name: str) -> str:
        """Return an address of the tenant, as its settings have it."""
        return self.text(f"secrets/{name}")

    def s3_key(self, name: str) -> tuple[str, str]:
        parser = configparser.ConfigParser()
        parser.read(self.folder / "secrets" / name)
        return parser["default"]["aws_access_key_id"], parser["default"]["aws_secret_access_key"]


@pytest.fixture(scope="module")
def plans(databases, tmp_path_factory) -> Iterator[dict[str, Plan]]:
    """Both tenants, made on the server by their own SQL."""
    folder = tmp_path_factory.mktemp("tenants")
    made = {name: Plan(name, folder / name, databases.port) for name in (ACME, GLOBEX)}
    for name, plan in made.items():
        databases.sql(plan.text("postgres.sql"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PERENNIAL_HOME", str(folder / f"{name}-state"))
            patch.setenv("PERENNIAL_TENANT", name)
            patch.setenv("PERENNIAL_DATABASE_URL_FILE", str(plan.folder / "owner_database_url"))
            assert main(["store", "upgrade"]) == 0
            for user in USERS:
                assert main(["store", "admit", plan.tenant.role(user), "--as", user]) == 0
    return made


@pytest.fixture(scope="module")
def redises(plans, tmp_path_factory) -> Iterator[dict[str, Server]]:
    if shutil.which("redis-server") is None and not os.environ.get("CI"):
        pytest.skip("no redis-server on this machine")
    servers = {}
    try:
        for name, plan in plans.items():
            folder = tmp_path_factory.mktemp(f"redis-{name}")
            server = Server(folder, ("redis-server", plan.folder / "redis.conf", "--dir", str(folder)))
            server.start(lambda plan=plan: _answers(plan.address("online_store")))
            servers[name] = server
        yield servers
    finally:
        for server in servers.values():
            server.kill()


def _answers(address: str) -> bool:
    try:
        with redis_client.Redis.from_url(address) as client:
            return bool(client.ping())
    except redis_client.ConnectionError:
        return False


@pytest.fixture(scope="module")
def object_store(plans, tmp_path_factory) -> Iterator[S3]:
    pytest.importorskip("boto3")
    admin = {"name": "admin", "actions": ["Admin"],
             "credentials": [{"accessKey": ADMIN[0], "secretKey": ADMIN[1]}]}  # fmt: skip
    identities = [admin] + [
        key for plan in plans.values() for key in json.loads(plan.text("s3-identities.json"))["identities"]
    ]
    server = S3(tmp_path_factory.mktemp("s3") / "s3", ADMIN, json.dumps({"identities": identities}))
    try:
        for plan in plans.values():
            server.client().create_bucket(Bucket=plan.tenant.bucket)
            server.client().put_object(
                Bucket=plan.tenant.bucket, Key="mlflow/1", Body=plan.tenant.name.encode()
            )
        yield server
    finally:
        server.stop()


def connected(address: str) -> psycopg.Connection:
    return psycopg.connect(address.replace("+psycopg", ""), autocommit=True)


@pytest.mark.parametrize("name", OWNERS)
def test_a_role_uses_its_own_database(plans, name):
    with connected(plans[ACME].address(name)) as connection:
        connection.execute("CREATE TABLE own (x int)")
        connection.execute("DROP TABLE own")
        for wrong in ("CREATE ROLE more", "CREATE DATABASE more", f"ALTER ROLE {GLOBEX} PASSWORD 'x'",
                      f"DROP DATABASE {GLOBEX}", f"ALTER DATABASE {GLOBEX} OWNER TO {ACME}"):  # fmt: skip
            with pytest.raises(psycopg.Error):
                connection.execute(wrong)


@pytest.mark.parametrize("name", ADDRESSES)
def test_a_role_reaches_no_other_database(plans, name):
    """Neither the other tenant's nor one of another part of its own, nor those of the server."""
    own = urlsplit(plans[ACME].address(name))
    connected(own.geturl()).close()
    others = [
        database
        for plan in plans.values()
        for database in plan.tenant.databases
        if f"/{database}" != own.path
    ]
    assert len(others) == 7
    for database in [*others, "postgres", "template1", "perennial", "mlflow"]:
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            connected(own._replace(path=f"/{database}").geturl())


@pytest.mark.parametrize("name", ADDRESSES)
def test_a_password_is_that_of_one_role(plans, name):
    own, other = (urlsplit(plans[tenant].address(name)) for tenant in (ACME, GLOBEX))
    mixed = other._replace(netloc=other.netloc.replace(other.password, own.password)).geturl()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connected(mixed)


def test_the_sql_given_again_changes_nothing_and_takes_nothing_of_others(databases, plans, tmp_path):
    for plan in plans.values():
        databases.sql(plan.text("postgres.sql"))
        connected(plan.address("database_url")).close()
    databases.sql("CREATE ROLE initech_mlflow LOGIN PASSWORD 'of a person'")
    taken = Plan("initech", tmp_path / "initech", databases.port)
    with pytest.raises(subprocess.CalledProcessError):
        databases.sql(taken.text("postgres.sql"))
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connected(taken.address("mlflow_database_url"))
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connected(taken.address("database_url"))  # nothing was made
    databases.sql("DROP ROLE initech_mlflow; CREATE DATABASE initech OWNER perennial")
    with pytest.raises(subprocess.CalledProcessError):
        databases.sql(taken.text("postgres.sql"))
    databases.sql("DROP DATABASE initech")
    databases.sql(taken.text("postgres.sql"))
    connected(taken.address("../owner_database_url")).close()


@pytest.mark.parametrize("name", ["celery_broker_url", "online_store"])
def test_a_redis_knows_its_own_tenant_only(plans, redises, name):
    address = plans[ACME].address(name)
    own = redis_client.Redis.from_url(address, retry=ONCE)
    own.set("key", "value")
    for wrong in (("CONFIG", "GET", "*"), ("SHUTDOWN",), ("ACL", "LIST"), ("REPLICAOF", "127.0.0.1", "1")):
        with pytest.raises(redis_client.exceptions.NoPermissionError):
            own.execute_command(*wrong)
    parts = urlsplit(address)
    there = parts._replace(
        netloc=parts.netloc.replace(str(plans[ACME].redis_port), str(plans[GLOBEX].redis_port))
    )
    with pytest.raises(redis_client.AuthenticationError):
        redis_client.Redis.from_url(there.geturl(), retry=ONCE).get("key")
    with pytest.raises(redis_client.AuthenticationError):
        redis_client.Redis(port=plans[GLOBEX].redis_port, retry=ONCE).get("key")


def test_celery_and_feast_work_with_what_the_account_may_do(plans, redises):
    from kombu import Connection

    with Connection(plans[ACME].address("celery_broker_url")) as broker:
        queue = broker.SimpleQueue("light")
        queue.put({"task": 1})
        message = queue.get(timeout=20)
        message.ack()
        assert message.payload == {"task": 1}
        queue.close()
    store = redis_client.Redis.from_url(plans[ACME].address("online_store"))
    store.hset("entity", "view", b"packed")
    assert store.hmget("entity", "view") == [b"packed"]
    assert list(store.scan_iter(b"ent*")) == [b"entity"]


def s3_refuses(client, operation: str, **arguments) -> bool:
    from botocore.exceptions import ClientError

    try:
        getattr(client, operation)(**arguments)
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    return False


@pytest.mark.parametrize("key", ["s3_credentials", "s3_reader"])
def test_a_key_opens_its_own_bucket_only(plans, object_store, key):
    client = object_store.client(plans[ACME].s3_key(key))
    own, other = (plans[name].tenant.bucket for name in (ACME, GLOBEX))
    assert client.get_object(Bucket=own, Key="mlflow/1")["Body"].read() == ACME.encode()
    assert s3_refuses(client, "put_object", Bucket=own, Key="new", Body=b"") is (key == "s3_reader")
    for operation, arguments in (
        ("get_object", {"Key": "mlflow/1"}), ("put_object", {"Key": "mlflow/1", "Body": b"x"}),
        ("delete_object", {"Key": "mlflow/1"}), ("list_objects_v2", {}), ("delete_bucket", {}),
        ("copy_object", {"Key": "copy", "CopySource": f"{own}/mlflow/1"}),
    ):  # fmt: skip
        assert s3_refuses(client, operation, Bucket=other, **arguments), operation
    assert s3_refuses(client, "copy_object", Bucket=own, Key="copy", CopySource=f"{other}/mlflow/1")
    assert s3_refuses(client, "create_bucket", Bucket="another")
    assert object_store.client().get_object(Bucket=other, Key="mlflow/1")["Body"].read() == GLOBEX.encode()


def rows(databases: Postgres, database: str) -> str:
    """Return what a database holds, as the superuser sees it."""
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    with connected(f"postgresql://root:root-of-the-test@127.0.0.1:{databases.port}/{database}") as connection:
        names = [name for (name,) in connection.execute(tables)]
        read = "SELECT * FROM {}"
        return repr(
            [
                (name, connection.execute(sql.SQL(read).format(sql.Identifier(name))).fetchall())
                for name in names
            ]
        )


@pytest.fixture
def used(plans, monkeypatch, tmp_path):
    """`globex` has a ledger; afterwards the settings are those of `acme` with the databases of `globex`."""
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "globex"))
    monkeypatch.setenv("PERENNIAL_TENANT", GLOBEX)
    monkeypatch.setenv("PERENNIAL_DATABASE_URL", plans[GLOBEX].address("database_url"))
    assert main(["ledger", "show"]) == 0
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "acme"))
    monkeypatch.setenv("PERENNIAL_TENANT", ACME)
    return SimpleNamespace(state=tmp_path / "acme")


def test_every_command_refuses_the_database_of_another_tenant(databases, plans, used, capsys):
    """Even with its password, as where somebody mixed up two folders of secrets."""
    before = rows(databases, GLOBEX)
    assert "perennial_tenant" in before
    for command in commands():
        if command[0] not in OF_NO_TENANT:
            assert main(list(command)) == 83, command
            assert "belongs to the tenant globex" in capsys.readouterr().err
    assert rows(databases, GLOBEX) == before
    assert not used.state.exists()


@pytest.mark.parametrize("command", [["ledger", "show"], ["token", "list"], ["ledger", "verify"], ["store", "status"],
                                     ["machines", "list"], ["store", "upgrade"]], ids=" ".join)  # fmt: skip
def test_a_command_with_the_credentials_of_one_and_the_address_of_the_other_fails(
    databases, plans, used, monkeypatch, command, capsys
):
    before = rows(databases, GLOBEX)
    own = urlsplit(plans[ACME].address("database_url"))
    monkeypatch.setenv("PERENNIAL_DATABASE_URL", own._replace(path=f"/{GLOBEX}").geturl())
    assert main(command) == 56
    told = capsys.readouterr().err
    assert "permission denied" in told
    assert own.password not in told
    assert rows(databases, GLOBEX) == before
