"""The model as a BentoML service, as the tutorial of BentoML writes one; all settings are the defaults.

Only the path is one that the router knows, so that the service can be measured behind it.
"""

from __future__ import annotations

import os

import bentoml
import numpy as np


@bentoml.service
class Tutorial:
    def __init__(self) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(
            os.environ["MODEL_FILE"], options, providers=["CPUExecutionProvider"]
        )

    @bentoml.api(route=os.environ["ROUTE"])
    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self.session.run(["score"], {"features": rows.astype(np.float32)})[0]
