"""What tests of kernels share."""

import pytest


@pytest.fixture
def taken(monkeypatch):
    """The calls of the tiles out of `gram`, whatever its size."""
    from flowkit.kernels.tiles import registration, tiled_gram

    calls = []

    def counted(*arguments, **options):
        calls.append(options)
        return tiled_gram(*arguments, **options)

    monkeypatch.setattr(registration, "tiled_gram", counted)
    monkeypatch.setattr(registration, "LEAST_WORK", 1)
    return calls
