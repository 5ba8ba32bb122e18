"""The model's file: where it is, and which bytes `local-v1` stands for. Needs no onnxruntime."""

from __future__ import annotations

import hashlib
from pathlib import Path

MODEL_FILE = Path(__file__).with_name("efficientnet_lite0.onnx")
ONNX_SHA256 = "b7388c48353b5d5dec93300230e8fe4aa6fdae8fc5823d7df1528b36f830a7c7"


class ModelFileError(Exception):
    """The model's file is missing, or is not the one that `local-v1` names."""


def read_model(path: Path = MODEL_FILE) -> bytes:
    """The bytes of the model's file, checked.

    Raises:
        ModelFileError: it can't be read, or its sha256 is another.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelFileError(
            f"the model's file {path} can't be read ({error.strerror}): install batchembed again"
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != ONNX_SHA256:
        raise ModelFileError(
            f"the model's file {path} has sha256 {found}, but local-v1 is {ONNX_SHA256}: "
            "install batchembed again"
        )
    return data
