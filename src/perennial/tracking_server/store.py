"""MLflow's registry store with Perennial's rules.

The rules are here and not at the routes, because REST, the page's ajax-api, GraphQL and later interfaces of MLflow
all call these methods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from mlflow.entities.model_registry import ModelVersionTag
from mlflow.entities.model_registry.model_version_stages import STAGE_DELETED_INTERNAL
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, PERMISSION_DENIED
from mlflow.store.model_registry.dbmodels.models import (
    SqlModelVersion,
    SqlModelVersionTag,
    SqlRegisteredModel,
)
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

from perennial.core.governance import registry_rules as rules
from perennial.core.governance.identity import Role
from perennial.core.release.approval import TAG, TagAnswer, read_tag

WORDS = {TagAnswer.APPROVED: "approved", TagAnswer.REJECTED: "rejected"}


@dataclass(frozen=True)
class Caller:
    """The account of the current request."""

    name: str
    roles: frozenset[Role]
    admin: bool


class GovernedStore(SqlAlchemyStore):
    """Registry store that refuses forbidden changes (403) and records who approved which digest, and when.

    Args:
        caller: returns the caller of the current request.
    """

    def __init__(
        self,
        db_uri: str,
        caller: Callable[[], Caller],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(db_uri)
        self._caller = caller
        self._clock = clock

    def set_model_version_tag(self, name: str, version: str, tag: ModelVersionTag) -> None:
        tags = self.get_model_version(name, version).tags
        caller = self._caller()
        _allow(rules.tag_refusal(caller.roles, tag.key, tag.value, tags, caller.admin))
        if tag.key == TAG:
            self._record_answer(name, version, tag.value, tags, caller)
        super().set_model_version_tag(name, version, tag)

    def delete_model_version_tag(self, name: str, version: str, key: str) -> None:
        tags = self.get_model_version(name, version).tags
        caller = self._caller()
        _allow(rules.tag_refusal(caller.roles, key, None, tags, caller.admin))
        if key == TAG:
            self._remove_answer(name, version, tags, caller.name)
        super().delete_model_version_tag(name, version, key)

    def _record_answer(
        self, name: str, version: str, value: str, tags: dict[str, str], caller: Caller
    ) -> None:
        """Record the answer before the tag shows it; it counts even if the process is killed in between."""
        digest = tags.get("digest")
        if digest is None:
            _bad(f"version {version} of {name} has no tag `digest`: there is nothing to approve")
        answer = read_tag(value, digest)
        if answer in WORDS:
            answer_tag = rules.record(caller.name, WORDS[answer], digest, self._clock())
            super().set_model_version_tag(name, version, ModelVersionTag(*answer_tag))
        elif answer is not TagAnswer.NONE:
            _bad(f"{TAG}={value!r} is {answer.value}: write approved, rejected or waiting")
        else:
            # An approver withdraws the own answer; the release machine has none. The answers of others stay: the
            # machine counts by time and digest, and may ask again while somebody answers.
            self._remove_answer(name, version, tags, caller.name)

    def _remove_answer(self, name: str, version: str, tags: dict[str, str], account: str) -> None:
        if rules.BY + account in tags:
            super().delete_model_version_tag(name, version, rules.BY + account)

    def create_model_version(self, name: str, source: str, *args: Any, **more: Any) -> Any:
        tags = more.get("tags") or (args[1] if len(args) > 1 else None) or ()
        self._allow_creation(tag.key for tag in tags)
        self._refuse_taken(name, {tag.key: tag.value for tag in tags})
        return super().create_model_version(name, source, *args, **more)

    def _refuse_taken(self, name: str, tags: dict[str, str]) -> None:
        """Refuse malformed identities, and a second version of the same number: releases are named by it."""
        if refusal := rules.form_refusal(tags):
            _bad(refusal)
        number = tags.get(rules.SEMANTIC_VERSION)
        if number is None:
            return
        with self.ManagedSessionMaker() as session:
            same = {"name": name, "key": rules.SEMANTIC_VERSION, "value": number}
            for tag in session.query(SqlModelVersionTag).filter_by(**same):
                key = {"name": name, "version": tag.version}
                version = session.query(SqlModelVersion).filter_by(**key).one()
                if (
                    version.current_stage != STAGE_DELETED_INTERNAL
                ):  # MLflow keeps the tags of a deleted version
                    _bad(f"{name} has a version {number} already: version {tag.version}")

    def create_registered_model(self, name: str, tags: Any = None, *args: Any, **more: Any) -> Any:
        self._allow_creation(tag.key for tag in tags or ())
        with self.ManagedSessionMaker() as session:
            others = [other for (other,) in session.query(SqlRegisteredModel.name)]
        # A model that is there may be asked for again, also beside a twin from before this rule.
        if name not in others and (refusal := rules.model_refusal(name, others)):
            _bad(refusal)
        return super().create_registered_model(name, tags, *args, **more)

    def set_registered_model_tag(self, name: str, tag: Any) -> None:
        self._allow_creation([tag.key])  # an approval belongs to a version, never to a model
        super().set_registered_model_tag(name, tag)

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        _allow(rules.alias_refusal(self._caller().roles, alias))
        super().set_registered_model_alias(name, alias, version)

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        _allow(rules.alias_refusal(self._caller().roles, alias))
        super().delete_registered_model_alias(name, alias)

    def delete_model_version(self, name: str, version: str) -> None:
        self._only_admin("versions are deleted")
        super().delete_model_version(name, version)

    def delete_registered_model(self, name: str) -> None:
        self._only_admin("models are deleted")
        super().delete_registered_model(name)

    def rename_registered_model(self, name: str, new_name: str) -> Any:
        self._only_admin("models are renamed")
        return super().rename_registered_model(name, new_name)

    def _allow_creation(self, keys: Iterable[str]) -> None:
        roles = self._caller().roles
        for key in keys:
            _allow(rules.creation_refusal(roles, key))

    def _only_admin(self, what: str) -> None:
        _allow("" if self._caller().admin else f"{what} by the admin only")


def _allow(refusal: str) -> None:
    if refusal:
        raise MlflowException(refusal, PERMISSION_DENIED)


def _bad(why: str) -> NoReturn:
    raise MlflowException(why, INVALID_PARAMETER_VALUE)
