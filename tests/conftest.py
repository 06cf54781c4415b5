"""JAX settings of the whole test run; the library itself never sets any."""

import os
import runpy
from pathlib import Path

import jax
import jaxtyping
import pytest

# As processes of `flowkit verify` compile. Run as a file: type checks need flowkit unimported.
COMPILATION = Path(__file__).parents[1] / "flowkit" / "claims" / "compilation.py"
os.environ.setdefault("XLA_FLAGS", runpy.run_path(str(COMPILATION))["QUICK_COMPILATION"])

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parents[1] / ".jax_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


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
