"""Compiling quickly: options of XLA for processes that compile as much as they compute."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Measured with jaxlib 0.10 on two cores: the catalogue takes 1 min 46 s, 178 s of CPU time. XLA's
# default took 3 min 5 s; level 0, which compiles quicker and computes slower, takes 217 s of CPU
# time. One piece, as other processes use the other cores.
QUICK_COMPILATION = (
    "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=1 "
    "--xla_cpu_parallel_codegen_split_count=1"
)


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
