"""Compile kernels for a Hopper GPU without having one, and print what came of them as JSON.

`TRITON_INTERPRET=0 python tests/kernels/compile_kernels.py`: by kernel, bytes of registers that
spill, 16-byte copies of weights into shared memory, narrower ones, and the order of instructions.
"""

import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends import nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from microturn.kernels.experts_tiles import Tile, numbers_ahead, plan_for
from microturn.kernels.experts_triton import _down_kernel, _down_token_kernel, _up_kernel
from microturn.kernels.row_noise_triton import _noise_kernel

HOPPER = GPUTarget("cuda", 90, 32)
SIZES = {"D": 1024, "F": 512, "TOP_K": 4, "BLOCK_M": 16, "UPCAST": False}
TYPES = {"w": "*fp32", "rows": "*fp32", "out": "*fp32", "ids": "*i64", "seeds": "*i64"}
NUMBERS = ("P", "by_pair", "w_stride", "B", "SIZE")


def compiled(kernel: Any, constants: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Pointers are aligned to 16 bytes, as tensors are; weights and tokens are bf16."""
    signature, aligned = {}, {}
    for index, name in enumerate(kernel.arg_names):
        if name in constants:
            signature[name] = "constexpr"
        elif name in NUMBERS:
            signature[name] = "i32"
        else:
            signature[name], aligned[(index,)] = (
                TYPES.get(name, "*bf16"),
                [["tt.divisibility", 16]],
            )
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    binary = triton.compile(source, target=HOPPER, options=options)
    ptx = binary.asm["ptx"]
    copies = re.findall(r"cp\.async\.c[ag]\.shared\.global [^;]*?, (0x[0-9a-f]+),", ptx)
    wait, first_copy = ptx.find("griddepcontrol.wait"), ptx.find("cp.async.c")
    return {
        "stack": _stack_bytes(binary.asm["cubin"]),
        "copies_of_16": copies.count("0x10"),
        "copies": len(copies),
        "waits_before_copies": 0 < wait < first_copy,
        "lets_the_next_begin": "griddepcontrol.launch_dependents" in ptx,
        "asks_the_l2": "cp.async.bulk.prefetch.L2.global" in ptx,
    }


def _stack_bytes(cubin: bytes) -> int:
    program = Path(nvidia.__file__).parent / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run(
            [program, "-res-usage", file.name], capture_output=True, encoding="utf-8", check=True
        )
    return sum(map(int, re.findall(r"STACK:(\d+)", done.stdout)))


def up(n_tokens: int, *, hints: bool) -> dict[str, Any]:
    """The up kernel with its tile for so many tokens."""
    tile = plan_for(n_tokens, torch.bfloat16)[0][0]
    threads = 32 * tile.warps
    weights = torch.empty(1, SIZES["F"], SIZES["D"], dtype=torch.bfloat16)
    ahead = numbers_ahead(weights, SIZES["F"] // tile.columns * threads) if hints else 0
    constants = {"BLOCK_P": 128, "BLOCK_F": tile.columns, "BLOCK_D": tile.depth}
    constants |= {"OVERLAP": hints, "AHEAD": ahead, "THREADS": threads}
    return compiled(_up_kernel, SIZES | constants, num_warps=tile.warps, num_stages=tile.stages)


def down(kernel: Any, tile: Tile, *, hints: bool, **more: int) -> dict[str, Any]:
    """A down kernel with this tile."""
    constants = SIZES | {"BLOCK_D": tile.columns, "BLOCK_F": tile.depth, "OVERLAP": hints} | more
    options = {"num_warps": tile.warps, "num_stages": tile.stages, "launch_pdl": hints}
    return compiled(kernel, constants, **options)


if __name__ == "__main__":
    rows = {}
    for hints in (False, True):
        for n in (1, 8):
            tile = plan_for(n, torch.bfloat16)[0][1]
            rows[f"up T={n} hints={hints}"] = up(n, hints=hints)
            rows[f"down T={n} hints={hints}"] = down(
                _down_token_kernel, tile, hints=hints, BLOCK_K=4
            )
        slot = down(_down_kernel, Tile(64, 128, 4, 3), hints=hints, BLOCK_P=128)
        rows[f"down by slot hints={hints}"] = slot
    for normal in (0, 1):
        rows[f"noise {normal}"] = compiled(_noise_kernel, {"NORMAL": normal, "BLOCK": 256})
    print(json.dumps(rows))
