"""The choice of a device."""

import subprocess
import sys

import pytest
import torch

from microturn.configs.devices import choose_device, uses_gpu

GPU = torch.cuda.is_available()


def test_auto_is_a_gpu_where_there_is_one() -> None:
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") == ("cuda" if GPU else "cpu")
    assert uses_gpu("auto") is GPU
    assert uses_gpu("cpu") is False


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("gpu", "device=gpu is no device; use cpu, cuda, cuda:0 or auto"),
        ("meta", "device=meta is not supported; use cpu, cuda, cuda:0 or auto"),
        pytest.param(
            "cuda:1",
            "device=cuda:1, but PyTorch finds no GPU here; use cpu or auto",
            marks=pytest.mark.skipif(GPU, reason="there is a GPU"),
        ),
    ],
)
def test_a_device_that_does_not_exist_is_refused(name: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        choose_device(name)


def test_importing_the_choice_imports_no_torch() -> None:
    code = "import sys, microturn.configs.devices; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
