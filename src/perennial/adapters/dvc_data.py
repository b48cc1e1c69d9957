"""The DataStore port over DVC: a separate git + DVC repository, made on first use.

A revision is a commit that tracks exactly the files of a `commit` call, so the same bytes always give the same
revision. Order of writing: DVC cache, DVC remote, git commit, the `latest` reference. After a kill the call can
be repeated, and no commit names data that the remote does not have.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

import yaml
from filelock import FileLock

from perennial.core.training.data import DataRevision
from perennial.encryption.server_side import upload_arguments
from perennial.errors import ChecksumMismatch, DatasetMissing, PerennialError, ToolError, UsageError
from perennial.files import md5, replacing
from perennial.object_storage import S3

ENCRYPTION = {"sse": "ServerSideEncryption", "sse_kms_key_id": "SSEKMSKeyId"}
"""Options of DVC's remotes in S3 -> arguments of boto3. Without our setting they stay as somebody set them."""
LATEST = "refs/perennial/latest"
KEPT = {".git", ".dvc", ".dvcignore"}
IDENTITY = ("user.name=perennial", "user.email=perennial@localhost", "commit.gpgsign=false")


class DvcData:
    """The DataStore port.

    Args:
        repo: folder of the repository.
        remote: a folder or any DVC address.
        encryption: encryption by S3 of what is pushed there (`server_side.FORM`).
    """

    def __init__(self, repo: Path, remote: str, encryption: str | None = None) -> None:
        self._repo = repo
        self._remote = remote
        self._encryption = upload_arguments(encryption) if remote.startswith(S3) else {}
        self._lock = FileLock(repo.parent / f"{repo.name}.lock")

    def commit(self, files: Mapping[str, Path], message: str) -> DataRevision:
        """Track the files under their names and push them; the same bytes give the same revision.

        Raises:
            DatasetMissing: a source file is missing.
            ToolError: DVC, its remote or git failed; repeat when it works again.
        """
        _check(files)
        self._repo.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, _tool_errors(self._remote):
            self._ensure()
            self._lay_out(files)
            self._track_and_push(sorted(files))
            self._git("add", "--all")
            tree = self._git("write-tree")
            revision = self._commit_of(tree) or self._new_commit(message)
            self._git("update-ref", LATEST, revision)
            return self._describe(revision)

    def checkout(self, revision: str, into: Path) -> None:
        """Write the files of a revision below `into`, from the cache or else the remote, and verify each.

        Raises:
            DatasetMissing: no such revision, or its bytes are neither in the cache nor in the remote.
            ChecksumMismatch: the stored bytes differ from the revision.
        """
        from dvc.api import DVCFileSystem

        if not self._knows(revision):
            raise DatasetMissing(
                f"no data revision {revision!r} in {self._repo}",
                hint="prepare the data, or set the DVC remote",
            )
        with self._lock, _tool_errors(self._remote):
            self._ensure()
            stored = DVCFileSystem(str(self._repo), rev=revision)
            for name, expected in self._describe(revision).files.items():
                _write_verified(stored, name, expected, into / name)

    def fetch(self, files: Mapping[str, str], into: Path) -> None:
        """Write files (name -> MD5) below `into` from the remote, whichever machine has committed them.

        Raises:
            DatasetMissing: the remote does not have one.
            ChecksumMismatch: its bytes are others.
        """
        from dvc.api import DVCFileSystem
        from dvc.repo import Repo

        with self._lock, _tool_errors(self._remote), TemporaryDirectory() as name:
            self._ensure()
            folder = Path(name)
            Repo.init(name, no_scm=True).close()
            shutil.copyfile(self._repo / ".dvc" / "config.local", folder / ".dvc" / "config.local")
            for path, expected in files.items():
                tracked = {"outs": [{"md5": expected, "hash": "md5", "path": PurePosixPath(path).name}]}
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / f"{path}.dvc").write_text(yaml.safe_dump(tracked))
            stored = DVCFileSystem(name)
            for path, expected in files.items():
                _write_verified(stored, path, expected, into / path)

    def latest(self) -> DataRevision | None:
        """Return the revision committed last; None before the first."""
        if not self._knows(LATEST):
            return None
        return self._describe(self._git("rev-parse", LATEST))

    def remote_state(self) -> str:
        """Return in words that the remote answers to the credentials that DVC has; changes nothing.

        Raises:
            ToolError: it does not answer, refuses us, or is a folder or bucket that cannot be used.
        """
        if not self._is_address():
            folder = Path(os.path.abspath(self._remote))
            if not folder.exists():
                return f"the first data revision makes {folder}"
            if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
                raise ToolError(
                    f"{folder} cannot be read and written by this account", hint=f"ls -ld {folder}"
                )
            return f"{folder} can be read and written"
        with _tool_errors(self._remote):
            from configobj import ConfigObj
            from dvc.fs import get_cloud_fs

            # Where `dvc remote modify --local` keeps keys and endpoints.
            config = ConfigObj(str(self._repo / ".dvc" / "config.local"), encoding="utf-8")
            stored = dict(config.get('remote "storage"', {}))
            kind, options, path = get_cloud_fs({}, **{**stored, "url": self._remote})
            place = path.split("/")[0] if kind.protocol == "s3" else path
            there = kind(**options).exists(place)
        if kind.protocol == "s3" and not there:
            raise ToolError(f"there is no bucket {place}", hint="create it, or correct PERENNIAL_DVC_REMOTE")
        return (
            f"{kind.protocol} remote {place} answers"
            if there
            else f"{kind.protocol} answers; {path} is empty"
        )

    def _is_address(self) -> bool:
        return "://" in self._remote or self._remote.startswith("~")

    def _ensure(self) -> None:
        """Create the repository if needed, and configure its remote."""
        from configobj import ConfigObj
        from dvc.repo import Repo

        self._repo.mkdir(parents=True, exist_ok=True)
        if not (self._repo / ".git" / "HEAD").is_file():
            self._git("init", "--quiet", "--initial-branch", "main")
        if not (self._repo / ".dvc" / "config").is_file():
            # Its message advises to commit to git, which happens here.
            logging.getLogger("dvc.repo.init").setLevel(logging.WARNING)
            Repo.init(str(self._repo), force=True).close()
        # In config.local, which git does not track: a change of the remote changes no revision. DVC itself writes
        # ASCII only, and the state folder may have any name.
        config = ConfigObj(str(self._repo / ".dvc" / "config.local"), encoding="utf-8")
        core = {
            "analytics": False,
            "check_update": False,
            # Without it each commit advises to run `git add`, which happens here.
            "autostage": True,
            "remote": "storage",
            "site_cache_dir": str(self._repo / ".dvc" / "tmp" / "site"),
        }
        url = self._remote if self._is_address() else os.path.abspath(self._remote)
        config.merge({"core": core, 'remote "storage"': {"url": url}})
        if self._encryption:
            for option, argument in ENCRYPTION.items():
                config['remote "storage"'].pop(option, None)
                if argument in self._encryption:
                    config['remote "storage"'][option] = self._encryption[argument]
        with replacing(Path(config.filename)) as temporary, temporary.open("wb") as file:
            config.write(file)

    def _lay_out(self, files: Mapping[str, Path]) -> None:
        """Put exactly these files into the work tree; earlier files are in the DVC cache."""
        for entry in self._repo.iterdir():
            if entry.name not in KEPT:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        for name, source in files.items():
            target = self._repo / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)

    def _track_and_push(self, names: list[str]) -> None:
        from dvc.repo import Repo

        with Repo(str(self._repo)) as repo:
            repo.add([str(self._repo / name) for name in names])
            repo.push()

    def _commit_of(self, tree: str) -> str | None:
        if not self._knows("HEAD"):
            return None
        for line in self._git("log", "--format=%H %T").splitlines():
            commit, its_tree = line.split()
            if its_tree == tree:
                return commit
        return None

    def _new_commit(self, message: str) -> str:
        self._git("commit", "--quiet", "--no-verify", "--allow-empty-message", "--message", message)
        return self._git("rev-parse", "HEAD")

    def _describe(self, revision: str) -> DataRevision:
        files = {}
        for path in self._git("ls-tree", "-r", "--name-only", revision).splitlines():
            if path.endswith(".dvc"):
                tracked = yaml.safe_load(self._git("show", f"{revision}:{path}"))["outs"][0]
                files[path.removesuffix(".dvc")] = tracked["md5"]
        message = self._git("log", "-1", "--format=%B", revision)
        return DataRevision(revision=revision, files=files, message=message)

    def _knows(self, name: str) -> bool:
        if not (self._repo / ".git").is_dir():
            return False
        query = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"]
        return subprocess.run(query, cwd=self._repo, env=_clean(), capture_output=True).returncode == 0

    def _git(self, *arguments: str) -> str:
        settings = [part for pair in IDENTITY for part in ("-c", pair)]
        done = subprocess.run(
            ["git", *settings, *arguments], cwd=self._repo, env=_clean(), capture_output=True, text=True
        )
        if done.returncode != 0:
            raise ToolError(
                f"git {arguments[0]} failed in {self._repo}: {done.stderr.strip()}",
                hint="look at that repository; preparing the data again makes all its content",
            )
        return done.stdout.strip()


def _check(files: Mapping[str, Path]) -> None:
    for name, source in files.items():
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or parts[0] in KEPT or name.endswith(".dvc"):
            raise UsageError(
                f"{name!r} cannot be the name of a data file", hint="a relative path, as a/b.parquet"
            )
        if not source.is_file():
            raise DatasetMissing(f"{source}, to be tracked as {name}, is not there", hint="prepare it first")


def _write_verified(stored, name: str, expected: str, target: Path) -> None:
    with replacing(target) as temporary:
        try:
            stored.get_file(name, str(temporary))
        except FileNotFoundError as error:
            raise DatasetMissing(
                f"{name} (md5 {expected}) is neither in DVC's cache nor in its remote",
                hint="restore the DVC remote",
            ) from error
        digest = md5(temporary)
        if digest != expected:
            raise ChecksumMismatch(
                f"{name} has md5 {digest}, the revision names {expected}",
                hint="the DVC cache or remote is damaged",
            )


def _clean() -> dict[str, str]:
    """Return the environment without GIT_* variables: in a git hook they point at another repository."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


@contextmanager
def _tool_errors(remote: str) -> Iterator[None]:
    from dvc.exceptions import DvcException

    try:
        yield
    except PerennialError:
        raise
    # A remote fails with errors of its own library (file system, S3, SSH), not only with those of DVC.
    except Exception as error:
        name = "" if isinstance(error, DvcException) else f"{type(error).__name__}: "
        raise ToolError(
            _without_password(f"DVC failed: {name}{error} (remote {remote})", remote),
            hint="check the remote and its key, for S3 AWS_CA_BUNDLE, too",
        ) from error


def _without_password(text: str, address: str) -> str:
    """Return a text without the password of an address, for the log of a task."""
    password = urlsplit(address).password
    return text.replace(password, "***").replace(unquote(password), "***") if password else text
