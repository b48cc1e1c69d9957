"""Licences as packages really state them, and the terms of the shipped configuration."""

from __future__ import annotations

from datetime import UTC, datetime
from email.message import Message
from importlib.metadata import PackageNotFoundError

import pytest

from perennial import catalog
from perennial.adapters.scanning import installed_packages
from perennial.adapters.scanning.installed_packages import licences, stated_by
from perennial.adapters.scanning.spdx import licence_status
from perennial.core.governance.licensing import LicenceStatus
from perennial.core.training.registration import VersionRecord
from perennial.core.verdict import Verdict
from perennial.core.version import VersionRef
from perennial.flows.governance.licensing import TermsPorts, check_terms
from perennial.history import datasets
from perennial.settings import Settings
from perennial.wiring import releasing

SPEC = catalog.spec("test_failure_predictor", Settings())
ALLOWED = ("MIT", "Apache-2.0", "LicenseRef-own")


def record(source):
    ref = VersionRef(model=SPEC.name, version="1.0.0", key="1", digest="d", capsule="c")
    return VersionRecord(
        ref=ref, run_id="r", created=datetime(2026, 1, 1, tzinfo=UTC), tags={"data.source": source}
    )


def judged(source, packages=None):
    ports = TermsPorts(
        datasets.terms(Settings().configs / "datasets.yaml", Settings().configs / "sources.yaml"),
        lambda stated: {"tool": "MIT"} | (packages or {}),
        licence_status,
    )
    return {one.rule: one.verdict for one in check_terms(SPEC, record(source), ports)}


@pytest.mark.parametrize(
    ("text", "stands"),
    [
        ("MIT", LicenceStatus.ALLOWED),
        ("GPL-3.0-only", LicenceStatus.FORBIDDEN),
        ("GPL-3.0-only OR MIT", LicenceStatus.ALLOWED),
        ("GPL-3.0-only AND MIT", LicenceStatus.FORBIDDEN),
        ("MIT AND (GPL-2.0-only OR Apache-2.0)", LicenceStatus.ALLOWED),
        ("Apache-2.0 WITH LLVM-exception", LicenceStatus.ALLOWED),
        ("GPL-2.0-only WITH Classpath-exception-2.0", LicenceStatus.FORBIDDEN),
        ("LicenseRef-own", LicenceStatus.ALLOWED),
        ("LicenseRef-other", LicenceStatus.FORBIDDEN),
        ("", LicenceStatus.UNKNOWN),
        ("none stated; made public", LicenceStatus.UNKNOWN),
        ("(MIT", LicenceStatus.UNKNOWN),
        ("My Licence 1.0", LicenceStatus.UNKNOWN),
    ],
)
def test_standing(text, stands):
    assert licence_status(text, ALLOWED) is stands


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ([("License-Expression", "MIT"), ("License", "GPL")], "MIT"),
        ([("License", "BSD-3-Clause")], "BSD-3-Clause"),
        ([("License", "Apache License, Version 2.0")], "Apache-2.0"),
        ([("License", "MIT License\n\nCopyright (c) ...")], "MIT"),
        ([("License", "BSD")], "BSD-2-Clause AND BSD-3-Clause"),
        ([("Classifier", "License :: OSI Approved :: MIT License")], "MIT"),
        (
            [
                ("License", "Dual License"),
                ("Classifier", "License :: OSI Approved :: BSD License"),
                ("Classifier", "License :: OSI Approved :: Apache Software License"),
            ],
            "(BSD-2-Clause AND BSD-3-Clause) AND Apache-2.0",
        ),
        ([("License", "GPLv2 with linking exception")], "GPLv2 with linking exception"),
        ([("Classifier", "License :: OSI Approved")], ""),
        ([], ""),
    ],
)
def test_licence_of_a_package(fields, licence):
    metadata = Message()
    for name, value in fields:
        metadata[name] = value
    assert stated_by(metadata) == licence


def test_every_package_that_runs_with_a_model_is_allowed():
    found = licences(SPEC.gate.licences.stated)
    assert {"pygit2", "numpy", "torch", "duckdb"} <= set(found)
    odd = {
        name: text
        for name, text in found.items()
        if licence_status(text, SPEC.gate.licences.allowed) != "allowed"
    }
    assert odd == {}


def test_terms_of_the_shipped_sources():
    assert set(judged("iofrol + simulator (seed 7)").values()) == {Verdict.PASS}
    assert judged("nasa_mdp_jm1")["licence_data"] is Verdict.UNSURE
    # Reports of somebody's CI: nobody has stated their terms yet.
    assert judged("junit")["data_consent"] is Verdict.FAIL
    assert judged("junit")["licence_data"] is Verdict.UNSURE


def test_package_with_a_licence_that_is_not_allowed_fails():
    assert judged("iofrol", {"other": "AGPL-3.0-only"})["licence_dependencies"] is Verdict.FAIL


def test_project_that_is_not_installed_cannot_be_judged(monkeypatch):
    def gone(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(installed_packages, "distribution", gone)
    found = {one.rule: one.verdict for one in releasing.terms(SPEC, record("iofrol"), Settings())}
    assert found["licence_dependencies"] is Verdict.ERROR
