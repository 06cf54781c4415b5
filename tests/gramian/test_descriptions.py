"""A description tells kernels apart, and is the same in every process."""

import functools
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp
from gramian.plain import Plain

import flowkit as fk
from flowkit.gramian.descriptions import describe_kernel, differences
from flowkit.symbolic import dual


def test_every_setting_of_a_kernel_is_pinned():
    convolutional = fk.kernels.Convolutional(3)
    others = {
        "depth": fk.kernels.Convolutional(4),
        "activation": fk.kernels.Convolutional(3, "erf"),
        "readout": fk.kernels.Convolutional(3, readout=fk.kernels.LocalAverage(2)),
        "filter": fk.kernels.Convolutional(3, filter_size=5),
        "bias_variance": fk.kernels.Convolutional(3, bias_variance=0.1),
        "train": fk.kernels.Convolutional(3, train=(1, 2)),
    }
    for name, other in others.items():
        found = list(differences(describe_kernel(convolutional), describe_kernel(other)))
        assert any(name in sentence for sentence in found), (name, found)
    assert not list(differences(describe_kernel(Plain()), describe_kernel(Plain())))


def test_a_function_is_described_by_its_name_and_where_it_has_none_by_its_code():
    assert describe_kernel(json.dumps) == "json.dumps"
    assert describe_kernel((1, np.arange(2), None)) == [1, [0, 1], None]
    scaled = lambda factor: lambda u: factor * u
    one, same, other = (describe_kernel(scaled(factor)) for factor in (1.0, 1.0, 2.0))
    assert one == same != other
    assert describe_kernel(lambda u: u) != describe_kernel(lambda u: -u)


FACTOR = 1.0


def scaled(u):
    return FACTOR * u


def later(u, *, factor=1.0):
    return factor * u


def bent(u):
    return scaled(u) ** 2


PAIRS = {
    "a function within": (lambda u: (lambda v: v)(u), lambda u: (lambda v: -v)(u)),
    "jit": (jax.jit(lambda u: u), jax.jit(lambda u: -u)),
    "of `vmap`": (jax.vmap(lambda u: u), jax.vmap(lambda u: -u)),
    "of `grad`": (jnp.tanh, jax.grad(jnp.tanh)),
    "partial": (functools.partial(jnp.power, 2), functools.partial(jnp.power, 3)),
    "functions in duals": (dual(lambda u: u), dual(lambda u: -u)),
    "nodes": (dual(jnp.tanh), dual(jnp.tanh, nodes=64)),
    "kinks": (dual(jnp.tanh), dual(jnp.tanh, kinked=True)),
    "the last digit": (sp.Float(0.1) * sp.Symbol("x"), sp.Float(0.1 + 2e-17) * sp.Symbol("x")),
}


@pytest.mark.parametrize(("one", "other"), PAIRS.values(), ids=PAIRS)
def test_what_differs_is_described_otherwise(one, other):
    assert describe_kernel(one) != describe_kernel(other)


def test_a_function_counts_by_the_values_that_it_reads(monkeypatch):
    before = [describe_kernel(f) for f in (scaled, bent, later, lambda u: scaled(u))]
    with monkeypatch.context() as patched:
        patched.setattr(sys.modules[__name__], "FACTOR", 2.0)
        patched.setattr(later, "__kwdefaults__", {"factor": 2.0})
        after = [describe_kernel(f) for f in (scaled, bent, later, lambda u: scaled(u))]
    assert all(a != b for a, b in zip(before, after, strict=True))


@pytest.mark.slow
def test_a_named_function_of_a_script_counts_by_its_code(tmp_path):
    found = [in_a_process(f"def act(u):\n    return {body}\n", "act") for body in ("u", "-u")]
    assert found[0].startswith("__main__.act ")
    assert found[0] != found[1]


def test_a_function_that_calls_itself_is_described():
    def again(u):
        return again(u)

    assert isinstance(describe_kernel(again), str)


def test_the_next_process_describes_it_likewise():
    """No memory address, and no order of a set, which each process has its own of."""
    code = """
FACTORS = frozenset(["one", "two", "three"])
def act(u, kind="one"):
    return u if kind in {"one", "two", "three"} and kind in FACTORS else -u
"""
    values = (
        "(act, functools.partial(act, kind='two'), jax.jit(act), dual(act), jax.nn.relu,"
        " dual(functools.partial(act, kind='two')), fk.kernels.FullyConnected(2, dual('tanh')))"
    )
    one, two = (in_a_process(code, values) for _ in range(2))
    assert one == two
    assert " at 0x" not in str(one)


def test_what_cannot_be_described_is_refused():
    class Callable:
        def __call__(self, u):
            return u

    for value in (Callable(), dual(Callable()), functools.partial(jnp.power, iter([]))):
        with pytest.raises(ValueError, match=r"`kernel` must consist of .* a part of it is a `"):
            describe_kernel(value)


def in_a_process(code, expression):
    """The description of what an expression gives in a new process."""
    imports = """
import functools, json, jax
import flowkit as fk
from flowkit.symbolic import dual
from flowkit.gramian.descriptions import describe_kernel
"""
    program = f"{imports}\n{code}\nprint(json.dumps(describe_kernel({expression})))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)
