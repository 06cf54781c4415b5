"""A fingerprint tells two values apart by what they do, in whichever process it is taken."""

import functools
import os
import subprocess
import sys
import threading
import types
from pathlib import Path

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from systems import completion

import flowkit as fk
from flowkit.dynamics.identity import fingerprint

PROBLEM = completion()


def function(source, **names):
    """The function `f` of a source text, in a module of its own that has these globals."""
    exec(source, names)
    return names["f"]


def module(**names):
    made = types.ModuleType("a_users_module")
    vars(made).update(names)
    return made


def closing_over(value):
    return lambda y: value * y


def with_default(value):
    def f(y, *, scale=value):
        return scale * y

    return f


def with_attribute(value):
    f = closing_over(1)
    vars(f)["scale"] = value
    return f


def recursive(value):
    def f(y):
        return y if y < value else f(y - 1)

    return f


def with_method(value):
    return type("Loss", (), {"__call__": lambda self, y: value * y})()


def with_base(value):
    base = type("Base", (), {"scale": property(lambda self: value)})
    return type("Loss", (base,), {})()


class Scale:
    """What a method belongs to."""

    def __init__(self, value):
        self.value = value

    def __call__(self, y):
        return self.value * y


def flow(**options):
    return fk.ModelFlow(jnp.sum, **options)


calling_a_global = lambda value: function("f = lambda y: g(y)", g=closing_over(value))
in_a_module = lambda value: function("f = lambda y: m.scale * y", m=module(scale=value))
deep_in_a_module = lambda value: function(
    "def f(y):\n return jax.vmap(lambda x: m.g(x))(y)", m=module(g=closing_over(value)), jax=jax
)
OF_A_NUMBER = {
    "closed over": closing_over,
    "default": with_default,
    "attribute": with_attribute,
    "recursive": recursive,
    "constant": lambda value: function(f"f = lambda y: {value} * y"),
    "global": lambda value: function("f = lambda y: a * y", a=value),
    "global function": calling_a_global,
    "name of a module": in_a_module,
    "inner name of a module": deep_in_a_module,
    "code of a method": with_method,
    "code of a base": with_base,
    "bound method": lambda value: Scale(value).__call__,
    "object": Scale,
    "partial": lambda value: functools.partial(jnp.multiply, value),
    "jitted": lambda value: jax.jit(closing_over(value)),
    "gradient": lambda value: jax.grad(closing_over(value)),
    "mapped": lambda value: jax.vmap(jnp.dot, in_axes=value - 1),
    "mapped by equinox": lambda value: eqx.filter_vmap(jnp.dot, in_axes=value - 1),
    "cached": lambda value: functools.lru_cache(closing_over(value)),
    "jaxpr": lambda value: jax.make_jaxpr(closing_over(value))(1.0),
    "structure": lambda value: jax.tree.structure({"a": [0] * value}),
    "array": lambda value: jnp.array([1, value]),
    "array of NumPy": lambda value: closing_over(np.array([1.0, value])),
    "objects of NumPy": lambda value: np.array(["a", value], object),
    "masked": lambda value: np.ma.masked_equal([1, 2], value),
    "narrow": lambda value: jnp.full(2, value, jnp.bfloat16),
    "key": jax.random.key,
    "set": lambda value: {"a", value},
    "dictionary": lambda value: {"a": {"b": value}},
    "expression": lambda value: sympy.Symbol("x") ** value,
    "depth": lambda value: fk.EndToEndFlow(PROBLEM, value + 1),
    "modified": lambda value: flow(modified=value, learning_rate=0.1),
    "rule's number": lambda value: flow(rule=fk.rules.RMSProp(a=float(value), eps=1e-3)),
    "layer": lambda value: eqx.nn.Linear(2, 2, key=jax.random.key(value)),
}


@pytest.mark.parametrize("make", OF_A_NUMBER.values(), ids=OF_A_NUMBER)
def test_a_number_in_any_place_counts_and_nothing_else_does(make):
    assert fingerprint(make(1)) == fingerprint(make(1))
    assert fingerprint(make(1)) != fingerprint(make(2))


DIFFERENT = {
    "types": (1, 1.0, True, "1", np.float64(1), jnp.ones(()), [1], (1,), {1}, None),
    "signs of zero": (0.0, -0.0),
    "shapes": (np.zeros((2, 3)), np.zeros((3, 2)), np.zeros((2, 3), np.float32), np.zeros(6)),
    "nesting": ([[1], 2], [[1, 2]], [1, [2]], [1, 2]),
    "solvers": (dfx.Tsit5(), dfx.Dopri5(), dfx.Dopri8()),
    "rules": tuple(
        flow(rule=rule(a=1.0, eps=1e-3)) for rule in (fk.rules.RMSProp, fk.rules.Normalised)
    ),
    "library functions": (jnp.sin, jnp.cos, np.sin, np.cos, max, min, jax.nn.relu, jax.nn.gelu),
    "operators": (lambda y: y + 1, lambda y: y - 1, lambda y: y.min(), lambda y: y.max()),
    "signatures": (lambda a, b: a, lambda b, a: a, lambda *a: a),
    "conditions": (fk.until.observable("a", 1), fk.until.observable("b", 1)),
}


@pytest.mark.parametrize("values", DIFFERENT.values(), ids=DIFFERENT)
def test_what_differs_in_kind_is_told_apart(values):
    assert len({fingerprint(value) for value in values}) == len(values)


def test_what_does_nothing_does_not_count():
    plain = function("def f(y):\n    return 2 * y")
    moved = function("# another line\n\ndef g(y):\n    return 2 * y  # a comment\nf = g", unused=3)
    assert fingerprint(plain) == fingerprint(moved)
    assert list({0, 8}) != list({8, 0}), "the sets should differ in their order"
    assert fingerprint({0, 8}) == fingerprint({8, 0})


def test_a_lock_counts_by_its_type_and_a_cycle_ends():
    lock = lambda: closing_over(threading.Lock())
    assert fingerprint(lock()) == fingerprint(lock()) != fingerprint(closing_over(None))
    cycle: list[object] = [1]
    cycle.append(cycle)
    assert fingerprint(cycle) != fingerprint([1, [1]])


def test_a_long_chain_of_functions_is_followed_to_its_end():
    chain = "".join(f"def f{i}(y):\n return f{i + 1}(y)\n" for i in range(300)) + "f = f0\n"
    ends = {fingerprint(function(f"{chain}f300 = lambda y: {n}")) for n in (1, 2)}
    assert len(ends) == 2


def test_use_does_not_change_a_value():
    layer, loss = eqx.nn.Linear(2, 2, key=jax.random.key(0)), jax.jit(closing_over(2))
    before = fingerprint((layer, loss))
    loss(layer(jnp.ones(2)))
    assert fingerprint((layer, loss)) == before


SCRIPT = """
import jax, test_identity as here
print([here.fingerprint(make(2)) for make in here.OF_A_NUMBER.values()])
print([here.fingerprint(value) for values in here.DIFFERENT.values() for value in values])
"""


@pytest.mark.slow
def test_another_process_computes_the_same():
    found = set()
    for seed in "12":
        paths = [str(Path(__file__).parent), str(Path(__file__).parents[1]), *sys.path]
        given = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", SCRIPT]
        found.add(subprocess.run(command, capture_output=True, check=True, env=given).stdout)
    assert len(found) == 1
