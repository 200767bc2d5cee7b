"""What works on models by programs of others, and takes seconds: torch's own exporter, llama.cpp."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.unit.models.conftest import write_bert
from tests.unit.models.test_onnx_embedder import check_export

LLAMA_CASES = Path(__file__).with_name("llama_cases.py")
LLAMA_SECONDS = 150


def test_a_model_that_we_do_not_fuse_is_exported_by_torch_and_equals_it(tmp_path: Path) -> None:
    model = write_bert(tmp_path / "bert", pooling="mean_tokens", hidden_act="relu", num_hidden_layers=1)
    (onnx := tmp_path / "onnx").mkdir()
    check_export(model, onnx)


def test_llama_cpp_in_a_process_of_its_own() -> None:
    """Its exit status is that of the tests: the process is left without llama.cpp's own end, which can hang."""
    program = "import os, sys, pytest; status = pytest.main(sys.argv[1:]); sys.stdout.flush(); os._exit(status)"
    done = subprocess.run(
        [sys.executable, "-c", program, "-q", "-p", "no:cacheprovider", LLAMA_CASES],
        capture_output=True, text=True, timeout=LLAMA_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
