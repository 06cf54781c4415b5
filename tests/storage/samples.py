"""Trajectories that are hard to store, and what it means that two are the same."""

import jax
import jax.numpy as jnp
import numpy as np

from flowkit.trajectory import Result, Trajectory

SUFFIXES = (".npz", ".nc", ".zarr")
TIMES = np.array([0.0, 0.1, 1 / 3])
STATS = {
    "num_steps": 12,
    "seconds": 0.1 + 0.2,
    "largest": float("inf"),
    "switches": ({"to": "RKC2", "at": [1, 2.5]}, {"to": "Tsit5", "at": ()}),
    "none": None,
    "$tuple": True,
}


def numbers(*shape, dtype=np.float64):
    """Numbers with all the bits that may get lost: signed zeros, subnormals, payloads of NaN."""
    bits = np.random.default_rng(7).integers(0, 256, (*shape, np.dtype(dtype).itemsize), np.uint8)
    array = bits.view(dtype)[..., 0]
    if np.dtype(dtype).kind == "f":
        array.flat[:4] = np.array([-0.0, np.nan, np.inf, 1 / 3], dtype)[: array.size]
    return array


def trajectory(states, **changes):
    has_final = "final" in changes
    parts = {
        "ts": TIMES,
        "states": states,
        "final": None if has_final else jax.tree.map(lambda leaf: leaf[-1], states),
        "final_time": 2 / 7,
        "observables": {"train loss": jnp.asarray(numbers(3)), "balance": jnp.ones((3, 2, 2))},
        "result": Result(successful=False, reason="the step is too short: 1e-17 ≤ ε"),
        "stats": STATS,
    }
    return Trajectory(**parts | changes)


def assert_same_tree(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert isinstance(x, jax.Array) == isinstance(y, jax.Array)
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def assert_same(a, b):
    for name in ("states", "final", "observables", "ts"):
        assert_same_tree(getattr(a, name), getattr(b, name))
    assert list(a.observables) == list(b.observables)
    assert a.final_time == b.final_time
    assert (a.result, a.stats, a.clock) == (b.result, b.stats, b.clock)
    assert [type(v) for v in a.stats.values()] == [type(v) for v in b.stats.values()]
