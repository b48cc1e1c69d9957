"""Which version a server of each pool answers with, by what the router names."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from perennial.errors import NotLoaded
from perennial.serving import headers
from perennial.serving.host import LoadedVersions, ModelHost
from perennial.serving.signed_files import NOBODY
from perennial.serving.version_selection import select_version

CHAMPION, CANDIDATE, BEFORE = "c" * 64, "d" * 64, "b" * 64
SHARE_OF_CANDIDATE = {
    headers.DIGEST: CANDIDATE,
    headers.RELEASE: "r-candidate",
    headers.FALLBACK: CHAMPION,
    headers.FALLBACK_RELEASE: "r-champion",
}
SHARE_OF_CHAMPION = {
    headers.DIGEST: CHAMPION,
    headers.RELEASE: "r-champion",
    headers.BACKUP: BEFORE,
    headers.BACKUP_RELEASE: "r-before",
}


def answered(folder, pool: str, held: list[str], sent: dict[str, str]) -> tuple[str, str, str]:
    """Digest, release and whom it stands in for."""
    host = ModelHost(folder, pool, lambda version: None, NOBODY, lambda model: "")
    loaded = {
        ("m", digest): SimpleNamespace(wanted=SimpleNamespace(digest=digest, release_id=""))
        for digest in held
    }
    host.versions = LoadedVersions(loaded=loaded)
    chosen = select_version(host, "m", None, sent)
    return chosen.version.wanted.digest, chosen.release_id, chosen.stands_in


def test_the_named_version_answers_in_either_pool(tmp_path):
    everything = [BEFORE, CHAMPION, CANDIDATE]
    for pool in ("stable", "canary"):
        assert answered(tmp_path, pool, everything, SHARE_OF_CANDIDATE) == (CANDIDATE, "r-candidate", "")
        assert answered(tmp_path, pool, everything, SHARE_OF_CHAMPION) == (CHAMPION, "r-champion", "")


def test_a_stable_server_answers_for_a_candidate_with_the_champion(tmp_path):
    selected = answered(tmp_path, "stable", [CHAMPION], SHARE_OF_CANDIDATE)
    assert selected == (CHAMPION, "r-champion", "fallback")


def test_a_canary_server_without_the_candidate_never_passes_the_champion_off_as_it(tmp_path):
    """It holds a first champion, whose answers would count as the candidate's."""
    with pytest.raises(NotLoaded, match=CANDIDATE[:12]):
        answered(tmp_path, "canary", [CHAMPION, BEFORE], SHARE_OF_CANDIDATE)


def test_the_backup_answers_for_the_champion_from_the_canary_pool_only(tmp_path):
    selected = answered(tmp_path, "canary", [BEFORE, CANDIDATE], SHARE_OF_CHAMPION)
    assert selected == (BEFORE, "r-before", "backup")
    with pytest.raises(NotLoaded):
        answered(tmp_path, "stable", [BEFORE], SHARE_OF_CHAMPION)
