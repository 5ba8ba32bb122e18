"""`local-v1` names bits: these values change only together with the name."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from batchembed.engine.encoders.local_v1.audio import embed_sound, log_mel
from batchembed.engine.encoders.local_v1.model_file import (
    MODEL_FILE,
    ONNX_SHA256,
    ModelFileError,
    read_model,
)
from batchembed.engine.encoders.local_v1.projection import DIMENSION, project, unit
from batchembed.engine.encoders.local_v1.visual import FEATURES, frame_size


def _features() -> NDArray[np.float64]:
    return ((np.arange(FEATURES, dtype=np.float64) * 7919) % 257 - 100) / 64


def _hum() -> NDArray[np.float32]:
    """Two seconds of a sawtooth that rises in pitch, by integer arithmetic."""
    at = np.arange(32_000, dtype=np.int64)
    return ((at * (110 + at // 400) % 16_000 - 8_000) / 16_000).astype(np.float32)


def test_the_projection_gives_the_bits_that_local_v1_names() -> None:
    vector = unit(project(_features()))
    assert hashlib.sha256(vector.astype("<f4").tobytes()).hexdigest() == PROJECTED


def test_the_projection_keeps_angles() -> None:
    random = np.random.default_rng(3)
    a, b = np.abs(random.standard_normal((2, FEATURES)))
    before = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    after = unit(project(a)).astype(np.float64) @ unit(project(b)).astype(np.float64)
    assert abs(before - after) < 0.05


def test_the_projection_is_linear_and_its_rows_are_orthonormal() -> None:
    matrix = np.stack([project(row) for row in np.eye(FEATURES)], axis=1)
    assert matrix.shape == (DIMENSION, FEATURES)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(DIMENSION), atol=1e-12)


def test_a_vector_without_direction_is_refused() -> None:
    with pytest.raises(ValueError, match="no direction"):
        unit(np.zeros(3))


def test_sound_gives_the_numbers_that_local_v1_names() -> None:
    vector = embed_sound(_hum())
    assert vector.shape == (DIMENSION,)
    assert np.linalg.norm(vector.astype(np.float64)) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(vector[::128], HUM, atol=2e-6)


def test_digital_silence_is_one_thirty_second_in_each_component() -> None:
    assert (embed_sound(np.zeros(96_000, np.float32)) == np.float32(1 / 32)).all()


def test_loudness_does_not_change_the_direction_much() -> None:
    loud, soft = embed_sound(_hum()), embed_sound(_hum() * np.float32(0.25))
    assert float(loud @ soft) > 0.99


def test_sound_shorter_than_a_window_is_filled_up_with_silence() -> None:
    assert log_mel(np.zeros(10, np.float32)).shape == (1, 64)
    assert np.isfinite(embed_sound(np.full(10, 0.5, np.float32))).all()


@pytest.mark.parametrize(
    ("aspect", "size"),
    [(16 / 9, (288, 160)), (1.0, (224, 224)), (9 / 16, (160, 288)), (4 / 3, (256, 192))],
)
def test_frames_keep_their_shape_and_their_area(aspect: float, size: tuple[int, int]) -> None:
    assert frame_size(aspect) == size


def test_the_shipped_model_is_the_one_that_is_named() -> None:
    assert hashlib.sha256(read_model()).hexdigest() == ONNX_SHA256
    card = MODEL_FILE.with_name("MODEL_CARD.md").read_text(encoding="utf-8")
    assert ONNX_SHA256 in card


def test_another_model_file_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "model.onnx"
    other.write_bytes(b"something else")
    with pytest.raises(ModelFileError, match="install batchembed again"):
        read_model(other)


def test_a_missing_model_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"nowhere\.onnx can't be read"):
        read_model(tmp_path / "nowhere.onnx")


PROJECTED = "068ca58587aa26bedd857b7ab7fb190273ed48921b7d4ba8041d2989eb9ba927"
HUM = [-0.0364411, -0.1107139, -0.0760402, -0.0389192, -0.0135944, 0.010911, 0.0678711, 0.0432295]
