"""A loss with a node that has no derivative rule is refused, and the node is named."""

import pytest
import sympy as sp
from sympy import HadamardProduct, Lambda, MatrixSymbol, Trace
from sympy.matrices.expressions.hadamard import HadamardPower

from flowkit.symbolic import UnsupportedExpressionError, derive
from flowkit.symbolic.adjoints import KINKED
from flowkit.symbolic.gradient import rate_along

m, n, i = sp.symbols("m n i", integer=True, positive=True)
X, A = MatrixSymbol("X", m, n), MatrixSymbol("A", m, n)
S, v = MatrixSymbol("S", n, n), MatrixSymbol("v", n, 1)
a, b, x = sp.symbols("a b x", real=True)
map_entries = lambda body: Trace(A.T * X.applyfunc(Lambda(x, body)))
positive = sp.Piecewise((x, x > 0), (0, True))

UNSUPPORTED = {
    "maximum": (sp.Max(a, b) * a, a, "Max"),
    "minimum": (sp.Min(a, b) * a, a, "Min"),
    "maximum of traces": (sp.Max(Trace(S), 0), S, "Max"),
    "piecewise of traces": (sp.Piecewise((Trace(S), a > 0), (0, True)), S, "Piecewise"),
    "sign": (sp.sign(a) * a, a, "sign"),
    "argument": (sp.arg(a) + a, a, "arg"),
    "floor": (sp.floor(a) * b, a, "floor"),
    "remainder": (sp.Mod(a, 2) * b, a, "Mod"),
    "step": (sp.Heaviside(a), a, "Heaviside"),
    "maximum of entries": (map_entries(sp.Max(x, 0)), X, "Max"),
    "sign of entries": (map_entries(sp.sign(x)), X, "sign"),
    "piecewise of entries": (map_entries(positive), X, "Piecewise"),
    "floor of entries": (map_entries(sp.floor(x)), X, "floor"),
    "trace inside an element-wise function": (map_entries(x * Trace(S)), S, "Trace"),
    "determinant inside one": (map_entries(x * sp.Determinant(S)), S, "Determinant"),
    "entry inside one": (map_entries(x * S[0, 0]), S, "MatrixElement"),
    "matrix entry": (X[0, 1] ** 2, X, "MatrixElement"),
    "sum over entries": (sp.Sum(X[i, 0], (i, 0, 2)), X, "Sum"),
    "entry of a product": (sp.MatMul(v.T, S, v)[0, 0], S, "Sum"),
    "root of any matrix": (Trace(S**sp.S.Half), S, "MatPow"),
    "root of an indefinite matrix": (Trace((S + S.T) ** sp.S.Half), S, "MatPow"),
    "root that is not alone": (Trace(A.T * A * (X.T * X) ** sp.S.Half), X, "MatPow"),
    "root inside a Hadamard product": (
        Trace(HadamardProduct((X.T * X) ** sp.S.Half, S)),
        X,
        "MatPow",
    ),
    "trained matrix exponent": (Trace((X.T * X) ** a), a, "MatPow"),
    "trained Hadamard exponent": (Trace(A.T * HadamardPower(X, a)), a, "HadamardPower"),
    "matrix as exponent": (Trace(A.T * HadamardPower(X, A)), X, "HadamardPower"),
    "scalar to the power of a matrix": (Trace(A.T * HadamardPower(a, X)), X, "HadamardPower"),
    "block matrix": (Trace(sp.BlockMatrix([[S, S]]) * sp.BlockMatrix([[S], [S]])), S, "BlockM"),
    "Kronecker product": (Trace(sp.KroneckerProduct(S, S)), S, "KroneckerProduct"),
    "diagonal matrix": (Trace(sp.DiagMatrix(v) * S), v, "DiagMatrix"),
    "adjoint": (Trace(sp.Adjoint(X) * X), X, "Adjoint"),
    "slice": (Trace(S[0:2, 0:2]), S, "MatrixSlice"),
    "permanent": (sp.Permanent(S), S, "Permanent"),
    "explicit matrix": (Trace(sp.Matrix([[a]]) * MatrixSymbol("c", 1, 1)), a, "DenseMatrix"),
    "undefined function": (sp.Function("f")(a), a, "`f`"),
    "integral": (sp.Integral(sp.sin(a * x), (x, 0, 1)), a, "Integral"),
    "derivative": (sp.Derivative(sp.Function("f")(a), a), a, "Derivative"),
}


@pytest.mark.parametrize(("loss", "parameter", "named"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_unsupported_nodes_are_refused_by_name(loss, parameter, named):
    with pytest.raises(UnsupportedExpressionError, match=named):
        derive(loss, [parameter])


@pytest.mark.parametrize(("loss", "parameter", "named"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_rates_along_a_flow_refuse_the_same(loss, parameter, named):
    with pytest.raises(UnsupportedExpressionError, match=named):
        rate_along(loss, {parameter: parameter})


def test_what_is_refused_may_stand_in_the_data():
    """Nodes are refused only where a parameter passes through them."""
    assert derive(sp.Max(b, 0) * X[0, 0] * a**2, [a]).rates == (-2 * a * sp.Max(b, 0) * X[0, 0],)


def test_smooth_functions_are_no_kinks():
    assert not any(issubclass(sp.tanh, kind) for kind in KINKED)
    assert derive(sp.Abs(a), [a]).rates == (-sp.sign(a),)


BAD = {
    "imaginary": (sp.I * a, a, "`loss` must be real and finite, but .* holds `I`"),
    "imaginary power": (a**sp.I, a, "`loss` must be real and finite"),
    "infinite": (sp.oo * Trace(S), S, "holds `oo`"),
    "size": (n * Trace(S), n, "must not hold sizes of matrices, but `n` is one"),
    "matrix": (X.T * X, X, "`loss` must be a scalar"),
}


@pytest.mark.parametrize(("loss", "parameter", "message"), BAD.values(), ids=BAD)
@pytest.mark.usefixtures("as_a_user")
def test_wrong_losses_are_refused(loss, parameter, message):
    with pytest.raises(ValueError, match=message):
        derive(loss, [parameter])


def test_powers_by_a_symbol_that_is_not_real_are_refused():
    imaginary = sp.Symbol("w", imaginary=True)
    for loss, parameter, node in (
        (a**imaginary, a, "Pow"),
        (Trace((X.T * X) ** imaginary), X, "MatPow"),
        (Trace(A.T * HadamardPower(X, imaginary)), X, "HadamardPower"),
    ):
        with pytest.raises(UnsupportedExpressionError, match=node):
            derive(loss, [parameter])
