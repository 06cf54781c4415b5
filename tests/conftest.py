"""JAX settings of the whole test run; the library itself never sets any."""

import os
import platform
import runpy
from pathlib import Path

import jax
import jaxtyping
import pytest

COMPILATION = Path(__file__).parents[1] / "flowkit" / "claims" / "compilation.py"
# Level 0 compiles twice as quickly as level 1 and computes slower. It is safe only where no
# multiplication and addition are contracted to one instruction: it contracts some of the copies of
# an expression and not others, and slopes of kernels at nearly equal inputs are then off by 1e-1
# (kernels/test_angles.py). AVX, unlike AVX2 and ARM's instructions, has none to contract to.
UNCONTRACTED = "--xla_backend_optimization_level=0 --xla_cpu_max_isa=AVX"
LEVEL = "--xla_backend_optimization_level=1"

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parents[1] / ".jax_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def pytest_configure(config):
    """Compile as `flowkit verify` does, and quicker still where checks compute little."""
    options = runpy.run_path(str(COMPILATION))  # a file: type checks need flowkit unimported
    flags = options["QUICK_COMPILATION"]
    if config.option.markexpr != "slow" and platform.machine() in ("x86_64", "AMD64"):
        flags = flags.replace(LEVEL, UNCONTRACTED)
    os.environ.setdefault("XLA_FLAGS", flags)


@pytest.fixture(scope="module", autouse=True)
def _few_programs():
    """Forget compiled programs after each file: a process may map only so many."""
    yield
    jax.clear_caches()


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def as_a_user():
    """Without the run-time type checks that only tests have: wrong types meet our own messages."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
