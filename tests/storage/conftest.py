import pytest
from samples import SUFFIXES


@pytest.fixture(params=SUFFIXES)
def path(request, tmp_path):
    return tmp_path / f"run{request.param}"
