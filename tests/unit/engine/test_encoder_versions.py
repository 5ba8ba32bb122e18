from __future__ import annotations

import platform
from pathlib import Path

from batchembed.engine.encoders.local_v1.model_file import ONNX_SHA256
from batchembed.engine.versions import cpu_kind, engine_versions


def test_versions_are_text_that_a_dataset_can_record() -> None:
    versions = engine_versions()
    assert versions["encoder_sha256"] == ONNX_SHA256
    assert all(text.strip() for text in versions.values())


def test_the_kind_of_cpu_is_its_widest_extension(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("model name : any\nflags\t\t: fpu sse4_2 avx avx2\n", encoding="utf-8")
    assert cpu_kind(info) == f"{platform.machine()} avx2"


def test_without_a_list_of_extensions_the_architecture_is_the_kind(tmp_path: Path) -> None:
    assert cpu_kind(tmp_path / "missing") == platform.machine()
