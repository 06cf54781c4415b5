"""Where a small start leads among matrices that commute: to the least nuclear norm, and no other.

The measurements are diagonal, which is no loss: a rotation of the basis turns into one of every
factor. It matters in floating point. The diagonal factors stay exactly diagonal, whereas in another
basis rounding breaks the symmetry, the flow is unstable against that, and within some tens of units
of time it leaves the matrices that commute (measured: off-diagonal entries grow from 1e-19 to 1).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.optimize import linprog

from flowkit import initial, until
from flowkit.agreement import fitted_order
from flowkit.claim import Claim, Curves, Verdict
from flowkit.dynamics import integrate
from flowkit.fields import FactorFlow
from flowkit.observables import end_to_end, nuclear_norm, schatten_norm
from flowkit.problems import MatrixSensing

MEASUREMENTS = np.array([[1.0, 0.0, 0.3, 0.5], [0.0, 1.0, 0.4, -0.2]])  # their diagonals
VALUES = np.array([1.0, 2.0])
SCALES = (1e-4, 1e-6, 1e-8)
DEPTHS = (2, 3)
# From depth 3 on an entry off the support falls in proportion to the scale s. At depth 2 it falls
# as s^(1 - a_i . nu) with nu the dual solution of the linear program: that is 0.7 at its largest.
ORDERS = {2: 0.3, 3: 1.0}
ORDER_TOLERANCE = 0.03
WORST_EXCESS = {2: 2e-3, 3: 1e-6}  # of the nuclear norm, at the smallest scale
SIZE, TRACE, POWER = 4, 2.0, 0.5  # of the witness against quasi-norms
RIVALS = 200
WITNESS_TOLERANCE = 1e-8


def nuclear_norm_claims() -> tuple[Claim, ...]:
    """The nuclear norm is what a small start minimises here, and quasi-norms are not."""
    return (
        Claim(
            name="least nuclear norm among commuting matrices",
            statement="For diagonal measurements and a start s I, the limit of the flow comes to "
            "the least nuclear norm of a positive semidefinite solution as s falls, at depth 2 "
            "and at depth 3; the excess falls at the order that the dual problem predicts.",
            source="arXiv:1905.13655, Theorems 1 and 2; Gunasekar et al. 2017, arXiv:1705.09280",
            check=_check_least_norm,
        ),
        Claim(
            name="largest quasi-norm among matrices of one trace",
            statement="Where only the trace is measured, the flow from a small start ends at a "
            "multiple of the identity, which has a larger Schatten quasi-norm than any other "
            "positive semidefinite matrix of that trace.",
            source="arXiv:1905.13655, Proposition 1",
            check=_check_quasi_norm,
        ),
    )


def _check_least_norm() -> Verdict:
    least = _least_norm()
    excesses = {N: [_norm_of_limit(N, scale) - least for scale in SCALES] for N in DEPTHS}
    orders = {N: fitted_order(SCALES, np.abs(excesses[N])) for N in DEPTHS}
    return Verdict(
        passed=all(
            abs(orders[N] - ORDERS[N]) <= ORDER_TOLERANCE
            and abs(excesses[N][-1]) <= WORST_EXCESS[N]
            for N in DEPTHS
        ),
        kind="measured",
        measured="; ".join(
            f"depth {N}: excess {excesses[N][-1]:.1e} at scale {SCALES[-1]:g}, order "
            f"{orders[N]:.3f}"
            for N in DEPTHS
        ),
        expected="; ".join(
            f"depth {N}: at most {WORST_EXCESS[N]:g}, order {ORDERS[N]:g} +- {ORDER_TOLERANCE:g}"
            for N in DEPTHS
        ),
        numbers={"least nuclear norm": least}
        | {
            f"excess, depth {N}, scale {scale:g}": excess
            for N in DEPTHS
            for scale, excess in zip(SCALES, excesses[N], strict=True)
        },
        charts=(_excess_chart(excesses),),
    )


def _least_norm() -> float:
    """The least nuclear norm of a positive semidefinite solution: of a diagonal one, by pinching.

    Among diagonal matrices without negative entries the norm is the sum, a linear program.
    """
    solved = linprog(np.ones(MEASUREMENTS.shape[1]), A_eq=MEASUREMENTS, b_eq=VALUES)
    if not solved.success:
        raise ArithmeticError(f"The linear program failed: {solved.message}.")
    return float(solved.fun)


def _norm_of_limit(depth: int, scale: float) -> float:
    diagonals = np.stack([np.diag(row) for row in MEASUREMENTS])
    return float(nuclear_norm(_limit(MatrixSensing(diagonals, VALUES), depth, scale)))


def _limit(problem: MatrixSensing, depth: int, scale: float) -> tuple[jax.Array, ...]:
    """The factors where the flow from scale^(1/N) I comes to rest."""
    trajectory = integrate(
        FactorFlow(problem),
        initial.identity(problem, depth, scale),
        [0.0, 1e6],
        until=until.train_loss(1e-20),
        rtol=1e-8,
    )
    if not trajectory.result.successful:
        raise ArithmeticError(f"The integration failed: {trajectory.result.reason}.")
    return tuple(map(jnp.asarray, trajectory.final))


def _excess_chart(excesses: dict[int, list[float]]) -> Curves:
    return Curves(
        title="How far the nuclear norm is above its minimum",
        x_label="scale of the product at the start",
        y_label="excess of the nuclear norm",
        lines={f"depth {depth}": (SCALES, excess) for depth, excess in excesses.items()},
        log_x=True,
        log_y=True,
        caption="Two diagonal measurements of a 4 x 4 matrix. Depth 2 falls as the scale to the "
        "power 0.3, as predicted by the dual solution; depth 3 in proportion.",
    )


def _check_quasi_norm() -> Verdict:
    limit = end_to_end(_limit(MatrixSensing(np.eye(SIZE)[None], [TRACE]), 2, 1e-6))
    distance = float(jnp.linalg.norm(limit - TRACE / SIZE * jnp.eye(SIZE)))
    reached, highest = quasi_norm(limit), SIZE ** (1 - POWER) * TRACE**POWER
    rivals = [quasi_norm(rival) for rival in _rivals()]
    return Verdict(
        passed=distance <= WITNESS_TOLERANCE
        and abs(reached - highest) <= WITNESS_TOLERANCE
        and max(rivals) < reached,
        kind="measured",
        measured=f"the limit is {distance:.1e} from (y/d) I; sum of s^{POWER:g} {reached:.6f}, of "
        f"{RIVALS} other matrices {min(rivals):.3f} to {max(rivals):.6f}",
        expected=f"d^(1-p) y^p = {highest:.6f} +- {WITNESS_TOLERANCE:g}, above all others",
        numbers={
            "distance to (y/d) I": distance,
            "quasi-norm of the limit": reached,
            "largest other": max(rivals),
        },
    )


def quasi_norm(matrix: Float[jax.Array, "rows columns"]) -> float:
    """The sum of s^p over singular values, for p = 1/2."""
    return float(schatten_norm(POWER)(matrix) ** POWER)


def _rivals() -> list[Float[jax.Array, "rows columns"]]:
    """Positive semidefinite matrices of the same trace, from near (y/d) I to far from it."""
    rivals = []
    for key, spread in zip(
        jax.random.split(jax.random.key(0), RIVALS), np.geomspace(1e-2, 1e2, RIVALS), strict=True
    ):
        draw = jax.random.normal(key, (SIZE, SIZE))
        matrix = jnp.eye(SIZE) + spread * draw @ draw.T / SIZE
        rivals.append(TRACE * matrix / jnp.trace(matrix))
    return rivals
