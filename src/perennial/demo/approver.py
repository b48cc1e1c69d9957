"""Approval of a version in MLflow with a person's account, as on the version's page."""

from __future__ import annotations

import httpx

from perennial import account_file
from perennial.core.certificates.roles import ProcessRole
from perennial.core.governance.identity import Role
from perennial.core.release.approval import TAG
from perennial.core.version import VersionRef
from perennial.errors import SettingsError, TrackerRefused
from perennial.settings import Settings
from perennial.wiring.certificates import page_verify


def approve(settings: Settings, ref: VersionRef) -> str:
    """Set the version's tag `approval`, signed in as the first approver; returns the account name.

    Raises:
        SettingsError: no account has the role.
        TrackerRefused: MLflow refuses the tag.
    """
    accounts = account_file.read(settings.accounts_file)
    name = next((name for name, account in accounts.items() if account.role is Role.APPROVER), None)
    if name is None:
        raise SettingsError("no account has the role approver", hint="set PERENNIAL_PEOPLE=ann:approver")
    answer = httpx.post(
        f"{settings.pages_mlflow}/api/2.0/mlflow/model-versions/set-tag",
        json={"name": ref.model, "version": ref.key, "key": TAG, "value": f"approved {ref.digest}"},
        auth=(name, accounts[name].password),
        timeout=60,
        verify=page_verify(settings, ProcessRole.MLFLOW),
    )
    if answer.status_code != 200:
        raise TrackerRefused(f"MLflow answers {answer.status_code} to {name}", hint=answer.text[:300])
    return name
