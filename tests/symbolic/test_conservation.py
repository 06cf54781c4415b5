"""Conservation laws are found by exact algebra, and as many as the Lie algebra leaves room for."""

import dataclasses
import itertools

import numpy as np
import pytest
import sympy as sp

from flowkit.symbolic import (
    conservation_claims,
    conserved_quantities,
    count_laws,
    derive,
    end_to_end_flow,
    factor_flow,
    kernel_flow,
    linear_network_laws,
    relu_network_laws,
)
from flowkit.symbolic.entries import entry_flow
from flowkit.symbolic.law_counts import count_claims, published_claim, two_factor_laws
from flowkit.symbolic.lie_algebra import PRIME, Span, bracket, generated_fields

a, b, c, y = sp.symbols("a b c y", real=True)
decay = sp.Symbol("lambda", positive=True)
CHAIN = (a * b * c - y) ** 2 / 2
SIZES = {"d_0": 2, "d_1": 2, "d_2": 3}
DRIFT = 1e-9  # fourth-order steps of 1e-3 over unit time leave about 1e-12


def test_a_chain_of_scalars_conserves_differences_of_squares():
    laws = conserved_quantities(derive(CHAIN, [a, b, c]))
    assert set(laws) == {a**2 - b**2, a**2 - c**2}


def test_weight_decay_leaves_no_polynomial_law():
    decayed = CHAIN + decay * (a**2 + b**2 + c**2) / 2
    assert conserved_quantities(derive(decayed, [a, b, c]), degree=4) == ()


def test_a_law_holds_for_all_data_not_for_some():
    """(a - y)^2 - (b - y)^2 is constant for the one y that it holds, so for data y it is no law."""
    loss = a * b - y * (a + b)
    assert conserved_quantities(derive(loss, [a, b])) == ()
    (law,) = conserved_quantities(derive(loss.subs(y, 3), [a, b]))
    assert sp.expand(law - (a - 3) ** 2 + (b - 3) ** 2) == 0


def test_time_counts_as_data():
    time = sp.Symbol("t", real=True)
    assert conserved_quantities(derive(time * a * b, [a, b])) == (a**2 - b**2,)
    assert conserved_quantities(derive(time * a * b + a**2, [a, b])) == ()


def test_unequal_powers_weight_the_squares():
    assert conserved_quantities(derive((a**2 * b - y) ** 2, [a, b])) == (a**2 - 2 * b**2,)


def test_a_higher_degree_brings_new_laws_but_no_functions_of_old_ones():
    """Under da/dt = 1, db/dt = a the law a^2 - 2 b is of degree two, and its square no new one."""
    flow = dataclasses.replace(derive(a + b, [a, b]), rates=(sp.Integer(1), a))
    assert conserved_quantities(flow, degree=1) == ()
    assert conserved_quantities(flow, degree=4) == (a**2 - 2 * b,)
    cubic = dataclasses.replace(flow, rates=(sp.Integer(1), 3 * a**2))
    assert conserved_quantities(cubic, degree=2) == ()
    assert conserved_quantities(cubic, degree=3) == (a**3 - b,)


@pytest.mark.parametrize("depth", range(2, 5))
def test_symbolic_sizes_give_the_matrix_laws(depth):
    flow = factor_flow(depth)
    assert conserved_quantities(flow) == flow.conserved


def test_a_carried_law_that_is_wrong_is_refused():
    flow = factor_flow(2)
    first, second = flow.state
    wrong = dataclasses.replace(flow, conserved=(second.T * second + first * first.T,))
    with pytest.raises(ArithmeticError, match="is not conserved: d/dt ="):
        conserved_quantities(wrong)


def test_explicit_sizes_give_the_entries_of_the_matrix_laws():
    """Each entry of W_2^T W_2 - W_1 W_1^T, up to its sign and factor, and nothing else."""
    flow = factor_flow(2)
    first, second = (
        sp.Matrix(rows, columns, lambda i, j, n=name: sp.Symbol(f"{n}_{i}_{j}", real=True))
        for name, rows, columns in (("W_1", 2, 2), ("W_2", 3, 2))
    )
    carried = second.T * second - first * first.T
    laws = conserved_quantities(flow, sizes=SIZES)
    assert len(laws) == 3
    for entry in (carried[0, 0], carried[0, 1], carried[1, 1]):
        assert entry in laws or sp.expand(-entry) in laws
    by_symbol = {size: SIZES[size.name] for size in (*first_sizes(flow), flow.state[1].rows)}
    assert conserved_quantities(flow, sizes=by_symbol) == laws


def first_sizes(flow):
    return flow.state[0].cols, flow.state[0].rows


def test_matrix_completion_conserves_balancedness_for_every_mask_and_target():
    m, n, k = sp.symbols("m n k", integer=True, positive=True)
    U, V = sp.MatrixSymbol("U", m, k), sp.MatrixSymbol("V", k, n)
    M, Y = sp.MatrixSymbol("M", m, n), sp.MatrixSymbol("Y", m, n)
    residual = sp.HadamardProduct(M, U * V - Y)
    flow = derive(sp.Trace(residual.T * residual) / (2 * m), [U, V])
    laws = conserved_quantities(flow, sizes={"m": 2, "n": 2, "k": 1})
    u, v = (sp.symbols(names, real=True) for names in ("U_0_0 U_1_0", "V_0_0 V_0_1"))
    assert laws == (u[0] ** 2 + u[1] ** 2 - v[0] ** 2 - v[1] ** 2,)


def test_every_law_of_entries_is_proved():
    flow = factor_flow(2)
    laws = conserved_quantities(flow, sizes=SIZES)
    verdicts = [claim.check() for claim in conservation_claims(flow, laws, sizes=SIZES)]
    assert len(verdicts) == 3
    assert all(verdict.passed and verdict.kind == "proved" for verdict in verdicts)


@pytest.mark.parametrize("change", ["sign of the law", "exponent of the law", "sign of a rate"])
def test_the_proof_of_a_law_fails_for_a_change(change):
    flow = derive((a**2 * b - y) ** 2, [a, b])
    (law,) = conserved_quantities(flow)
    if change == "sign of a rate":
        flow = dataclasses.replace(flow, rates=(-flow.rates[0], flow.rates[1]))
    wrong = {"sign of the law": law.subs(b**2, -(b**2)), "exponent of the law": law.subs(a, a**2)}
    (claim,) = conservation_claims(flow, [wrong.get(change, law)])
    assert not claim.check().passed


def test_laws_stay_constant_along_a_numerical_flow():
    """Runge-Kutta steps of the rates as NumPy functions, without the algebra of the search."""
    flow = entry_flow(factor_flow(2), SIZES)
    data = sorted(set().union(*(r.free_symbols for r in flow.rates)) - set(flow.state), key=str)
    generator = np.random.default_rng(0)
    G = dict(zip(data, generator.normal(size=len(data)), strict=True))
    rate = sp.lambdify([flow.state], [r.subs(G) for r in flow.rates])
    laws = sp.lambdify([flow.state], conserved_quantities(factor_flow(2), sizes=SIZES))
    state = start = generator.normal(size=len(flow.state))
    for _ in range(1000):
        state = _step(lambda x: np.array(rate(x)), state, 1e-3)
    assert np.linalg.norm(state - start) > 0.1
    assert np.max(np.abs(np.subtract(laws(state), laws(start)))) < DRIFT


def _step(f, x, h):
    first = f(x)
    second = f(x + h / 2 * first)
    third = f(x + h / 2 * second)
    return x + h / 6 * (first + 2 * second + 2 * third + f(x + h * third))


BAD_CALLS = {
    "degree": (lambda: conserved_quantities(derive(CHAIN, [a]), degree=0), "`degree` must be"),
    "size left open": (lambda: conserved_quantities(factor_flow(1), sizes={"d_0": 2}), "`d_1`"),
    "size of nothing": (lambda: conserved_quantities(derive(CHAIN, [a]), sizes={"k": 1}), "`k`"),
    "negative size": (
        lambda: conserved_quantities(factor_flow(1), sizes={"d_0": -1, "d_1": 2}),
        "positive integers, but `d_0` is `-1`",
    ),
    "no law carried": (lambda: conserved_quantities(kernel_flow()), "must give c, m, n"),
    "no polynomial": (lambda: conserved_quantities(derive(sp.exp(a), [a])), "must be a polynomial"),
    "irrational": (lambda: conserved_quantities(derive(sp.sqrt(2) * a**2, [a])), "rational"),
    "output": (lambda: count_laws((sp.sin(a),), (a,)), "must be a polynomial"),
    "parameters": (lambda: count_laws((a * b,), (a, a)), "must not repeat"),
    "no parameters": (lambda: count_laws((a * b,), ()), "must hold symbols"),
    "widths": (lambda: linear_network_laws(2), "at least two"),
    "width": (lambda: relu_network_laws(2, 0, 1), "one is `0`"),
}


@pytest.mark.parametrize(("call", "named"), BAD_CALLS.values(), ids=BAD_CALLS.keys())
@pytest.mark.usefixtures("as_a_user")
def test_bad_calls_are_refused_by_name(call, named):
    with pytest.raises(ValueError, match=named):
        call()


def test_roots_of_matrices_are_refused():
    with pytest.raises(ValueError, match="must have polynomial rates"):
        conserved_quantities(end_to_end_flow(3), sizes={"m": 2, "n": 2})


# --- the number of all laws -----------------------------------------------------------------------

TWO_FACTORS = [(1, 1, 1), (1, 3, 1), (2, 1, 2), (2, 2, 2), (3, 2, 2), (2, 3, 2), (1, 2, 1)]
TWO_FACTORS += [(1, 4, 1), (1, 3, 2), (2, 4, 1)]  # fewer rows than columns


@pytest.mark.parametrize("widths", TWO_FACTORS, ids=str)
def test_two_factors_have_the_published_number_of_laws(widths):
    """Marcotte, Gribonval, Peyre 2023, section 4: r(r+1)/2 if p >= r, else p(2r+1-p)/2."""
    n, r, m = widths
    count = linear_network_laws(*widths)
    formula = (
        sp.Rational(r * (r + 1), 2) if n + m >= r else sp.Rational((n + m) * (2 * r + 1 - n - m), 2)
    )
    assert count.laws == len(count.polynomial_laws) == formula
    verdicts = [claim.check() for claim in count.claims]
    assert len(verdicts) == count.laws + 2
    assert all(verdict.passed and verdict.kind == "proved" for verdict in verdicts)


@pytest.mark.parametrize(
    "widths", [(2, 2, 2, 2), (2, 1, 2, 2), (3, 2, 1, 2), (2, 1, 1, 1, 2)], ids=str
)
def test_deep_linear_networks_conserve_balancedness_alone(widths):
    """Two outputs and inputs or more, and hidden layers that are no wider than their neighbours."""
    balanced = sum(r * (r + 1) // 2 for r in widths[1:-1])
    count = linear_network_laws(*widths)
    assert count.laws == len(count.polynomial_laws) == balanced
    assert all(claim.check().passed and claim.check().kind == "proved" for claim in count.claims)


RELU = list(itertools.product([1, 2, 3], [1, 2, 3], [1, 2]))


@pytest.mark.parametrize("sizes", RELU, ids=str)
def test_relu_networks_have_one_law_per_hidden_unit(sizes):
    """Incoming less outgoing squares of each unit."""
    inputs, hidden, outputs = sizes
    count = relu_network_laws(*sizes)
    entry = lambda name: sp.Symbol(name, real=True)
    for j in range(hidden):
        law = sum(entry(f"U_{k}_{j}") ** 2 for k in range(outputs))
        law -= sum(entry(f"V_{j}_{l}") ** 2 for l in range(inputs))
        assert law in count.polynomial_laws
    assert count.laws == hidden
    assert all(claim.check().passed and claim.check().kind == "proved" for claim in count.claims)


def test_what_does_not_move_is_conserved():
    assert count_laws((sp.Integer(1),), (a,)).polynomial_laws == (a,)
    assert count_laws((a * b,), (a, b, c)).polynomial_laws == (c, a**2 - b**2)


def test_a_single_output_leaves_all_laws_but_one():
    """One gradient field has no brackets; at depth three not all of its laws are polynomials."""
    count = linear_network_laws(1, 2, 2, 1)
    assert (count.rank, count.laws) == (1, 7)
    assert len(count.polynomial_laws) == 6
    verdicts = [claim.check() for claim in count.claims]
    assert all(verdict.passed for verdict in verdicts)
    assert verdicts[-1].kind == "measured"


def test_a_law_that_is_no_polynomial_is_counted_all_the_same():
    """grad (a + b^2/2) = (1, b) leaves b e^(-a) constant."""
    count = count_laws((a + b**2 / 2,), (a, b), degree=3)
    assert (count.laws, count.polynomial_laws) == (1, ())
    assert count.claims[-1].check().kind == "measured"


def test_attention_conserves_queries_less_keys_and_values_less_outputs():
    """Scores W_Q W_K^T and values W_O W_V of one head: r(r+1)/2 laws from each pair of factors."""
    Q, K, V, O = (sp.Matrix(2, 2, sp.symbols(f"{name}_:2:2", real=True)) for name in "QKVO")
    count = count_laws((*(Q * K.T), *(O * V)), (*Q, *K, *V, *O))
    assert count.laws == len(count.polynomial_laws) == 6
    assert all(claim.check().kind == "proved" for claim in count.claims)
    for law in (*(Q.T * Q - K.T * K), *(O.T * O - V * V.T)):
        assert any(
            sp.expand(law - sign * found) == 0
            for found in count.polynomial_laws
            for sign in (1, -1)
        )


def test_inputs_of_a_model_may_take_any_value():
    """Quadratic units u (w . x)^2: the powers of the layers weight the squares."""
    u, v, w, x, z = sp.symbols("u v w x z", real=True)
    count = count_laws([u * (v * x + w * z) ** 2], [u, v, w])
    assert count.laws == 1
    assert count.polynomial_laws == (2 * u**2 - v**2 - w**2,)
    assert all(claim.check().kind == "proved" for claim in count.claims)
    assert count_laws([(u * (v * x + w * z) ** 2).subs({x: 1, z: 2})], [u, v, w]).laws == 2


def test_a_regularizer_is_one_more_output():
    assert count_laws((a * b * c,), (a, b, c)).laws == 2
    assert count_laws((a * b, a**2 + b**2), (a, b)).laws == 0
    kept = count_laws((a * b * c, a**2 + b**2 + c**2), (a, b, c))
    assert (kept.laws, kept.polynomial_laws) == (1, ())  # (a^2 - c^2) / (b^2 - c^2)


CHANGES = {  # what is changed, and which claim must fail: a law's own, the count's, the published
    "rank": (lambda count: {"rank": count.rank - 1}, -2),
    "laws": (lambda count: {"laws": count.laws + 1}, -2),
    "sign of a law": (lambda count: {"polynomial_laws": _flipped(count.polynomial_laws)}, 0),
    "law lost": (lambda count: {"polynomial_laws": count.polynomial_laws[1:]}, -1),
    "model": (lambda count: {"outputs": (*count.outputs, count.outputs[0] ** 2 + W_00**2)}, -2),
}
W_00 = sp.Symbol("W_1_0_0", real=True)


def _flipped(laws):
    first, *others = laws
    return (first.subs(W_00**2, -(W_00**2)), *others)


@pytest.mark.parametrize(("change", "failing"), CHANGES.values(), ids=CHANGES.keys())
def test_the_claims_of_a_count_fail_for_a_change(change, failing):
    count = linear_network_laws(2, 2, 2)
    wrong = dataclasses.replace(count, **change(count))
    checks = lambda c: [*count_claims(c), published_claim(c, two_factor_laws(4, 2))]
    assert checks(count)[failing].check().passed
    assert not checks(wrong)[failing].check().passed


def test_the_published_number_fails_for_another_model():
    assert not published_claim(linear_network_laws(2, 2, 2), two_factor_laws(4, 1)).check().passed


# --- the algebra underneath -----------------------------------------------------------------------


def test_brackets_obey_the_jacobi_identity():
    ring, x, z = sp.ring("x z", sp.QQ)
    f, g, h = (x**2, z), (z, x * z), (x - z, z**3)
    zero = lambda *fields: all(sum(parts, ring.zero) == 0 for parts in zip(*fields, strict=True))
    assert bracket(f, g) == (z - 2 * x * z, x**2 * z)
    assert zero(bracket(f, g), bracket(g, f))
    assert zero(bracket(f, bracket(g, h)), bracket(g, bracket(h, f)), bracket(h, bracket(f, g)))


def test_two_rotations_generate_the_third():
    """The rotations of space move a point on its sphere, and with a shift everywhere."""
    ring, x, z, w = sp.ring("x z w", sp.QQ)
    one, two = (-z, x, ring.zero), (ring.zero, -w, z)
    assert len(generated_fields([one, two], (1, 2, 3))) == 2
    shift = (ring.one, ring.zero, ring.zero)
    assert len(generated_fields([two, shift], (1, 2, 3))) == 2
    assert len(generated_fields([two, shift, one], (1, 2, 3))) == 3


def test_brackets_of_brackets_are_found():
    """Derivatives of the curve (x, x^2, x^3), one more in each round of brackets with d/dx."""
    ring, x, *_ = sp.ring("x z v w", sp.QQ)
    fields = [(ring.one, *[ring.zero] * 3), (ring.zero, x, x**2, x**3)]
    assert len(generated_fields(fields, (1, 2, 3, 4))) == 4


def test_a_span_grows_by_independent_vectors_alone():
    span = Span()
    assert span.add([0, 2, 4])
    assert not span.add([0, PRIME - 1, PRIME - 2])
    assert span.add([3, 1, 5])
    assert not span.add([3, 0, 3])
    assert span.add([0, 0, 1])
    assert not span.add([7, 8, 9])
