"""Compiling quickly: options of XLA for processes that compile much and compute little."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Level 0 without fusion emitters is three times as quick as XLA's default, and safe only where no
# multiplication and addition are contracted to one instruction: it contracts some of the copies of
# an expression and not others, and slopes of kernels at nearly equal inputs are then off by 1e-1
# (tests/kernels/test_angles.py). AVX, unlike AVX2 and ARM's instructions, has none to contract to.
_EMITTERS = "--xla_cpu_use_fusion_emitters=false"
_UNCONTRACTED = "--xla_backend_optimization_level=0 --xla_cpu_max_isa=AVX"
_CONTRACTED = "--xla_backend_optimization_level=1"
_IN_ONE_PIECE = "--xla_cpu_parallel_codegen_split_count=1"  # other processes use the other cores
_LEVEL = _UNCONTRACTED if platform.machine() in ("x86_64", "AMD64") else _CONTRACTED
QUICK_COMPILATION = f"{_EMITTERS} {_LEVEL} {_IN_ONE_PIECE}"


@contextmanager
def compiling_quickly() -> Iterator[None]:
    """Have processes that are started here compile quickly, unless the environment says how."""
    before = os.environ.get("XLA_FLAGS")
    if before is None:
        os.environ["XLA_FLAGS"] = _known_flags()
    try:
        yield
    finally:
        if before is None:
            del os.environ["XLA_FLAGS"]


def _known_flags() -> str:
    """The flags, or none where this version of XLA does not know them: a process would abort."""
    environment = os.environ | {"XLA_FLAGS": QUICK_COMPILATION, "JAX_PLATFORMS": "cpu"}
    trial = [sys.executable, "-c", "import jax; jax.devices()"]
    known = subprocess.run(trial, env=environment, capture_output=True, check=False)
    return QUICK_COMPILATION if known.returncode == 0 else ""
