"""What is exact to rounding does not hang on the compiler options that make tests quick."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
AT_ROUNDING = ("test_arctangent.py", "kernels/test_angles.py")


@pytest.mark.slow
@pytest.mark.parametrize("name", AT_ROUNDING)
def test_rounding_is_the_same_as_users_compile(name):
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider"]
    environment = os.environ | {"XLA_FLAGS": "", "JAX_ENABLE_COMPILATION_CACHE": "false"}
    run = subprocess.run(
        [*command, str(TESTS / name)], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout[-2000:]
