"""The inference client of KServe's SDK, unchanged, against the REST form."""

from __future__ import annotations

import json
import math

import pytest
from clients.kserve_sdk import run_calls
from clients.protocol_server import protocol_server


@pytest.mark.slow
def test_the_sdk_of_kserve(kserve, tmp_path):
    with protocol_server(tmp_path) as address:
        results = json.loads(run_calls(kserve, address))
    score = round(1 / (1 + math.exp(-(2.5 + 3 + 1 + 1))), 5)
    answers = ["mine", ["setosa", "virginica"], [0, 1], score]
    assert results == {"live": True, "ready": True, "model": True, "json": answers, "binary": answers}
