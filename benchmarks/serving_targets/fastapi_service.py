"""The model as a FastAPI service with pydantic bodies, as its documentation writes one; it logs nothing."""

from __future__ import annotations

import os

import numpy as np
import onnxruntime as ort
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(os.environ["MODEL_FILE"], options, providers=["CPUExecutionProvider"])
app = FastAPI()


class Rows(BaseModel):
    rows: list[list[float]]


class Scores(BaseModel):
    scores: list[float]


@app.post("/predict")
async def predict(body: Rows) -> Scores:
    (scores,) = session.run(["score"], {"features": np.array(body.rows, dtype=np.float32)})
    return Scores(scores=scores.tolist())


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="error", access_log=False)
