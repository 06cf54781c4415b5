"""Claims about discrete training: how far descent strays from the flow, on real data."""

from functools import cached_property

import jax
from jaxtyping import Array

from flowkit import initial
from flowkit.agreement import conserved_drift, fitted_order
from flowkit.claim import Claim, Curves, Series, Verdict
from flowkit.claims.temperatures import standardised
from flowkit.dynamics import OrderStudy, integrate, study_order
from flowkit.fields import FactorFlow
from flowkit.problems import MatrixCompletion

DEPTHS, QUICK_DEPTHS = (2, 3), (3,)
HORIZON = 256.0  # flow time; the leading mode of the temperatures is learnt by then
LEARNING_RATES = tuple(0.5 / 2**k for k in range(5))  # four halvings
SLOPE_TOLERANCE = 0.05
DRIFT_PER_RTOL = 10  # the flow conserves exactly; what is left is the solver's error
RTOL = 1e-6


def training_claims(*, quick: bool) -> tuple[Claim, ...]:
    """Order one of descent, and conservation that holds for the flow and breaks for descent."""
    studies = _Studies(QUICK_DEPTHS if quick else DEPTHS)
    return (
        Claim(
            name="descent follows the flow",
            statement="At equal times, descent is off the flow by an error of order one in the "
            "learning rate.",
            source="Elkabetz, Cohen 2021, arXiv:2107.06608; the order is Euler's",
            check=lambda: _check_order(studies),
        ),
        Claim(
            name="conserved drift",
            statement="Balancedness is kept by the flow and drifts under descent, in proportion "
            "to the learning rate.",
            source="arXiv:1802.06509, Theorem 1; order eta^2 a step",
            check=lambda: _check_drift(studies),
        ),
    )


class _Studies:
    """The order studies that both claims look at, made once."""

    def __init__(self, depths: tuple[int, ...]):
        self.depths = depths

    @cached_property
    def by_depth(self) -> dict[int, OrderStudy]:
        return {
            depth: study_order(*_problem_and_start(depth), LEARNING_RATES, HORIZON)
            for depth in self.depths
        }


def _problem_and_start(depth: int) -> tuple[MatrixCompletion, tuple[Array, ...]]:
    problem = standardised(seed=0).problem
    return problem, initial.gaussian(problem, depth, 0.1, key=jax.random.key(depth))


def _check_order(studies: _Studies) -> Verdict:
    slopes = {f"slope, depth {d}": study.slope for d, study in studies.by_depth.items()}
    points: dict[str, Series] = {
        f"depth {d}": (LEARNING_RATES, study.errors) for d, study in studies.by_depth.items()
    }
    return Verdict(
        passed=all(abs(slope - 1) <= SLOPE_TOLERANCE for slope in slopes.values()),
        kind="measured",
        measured="slopes " + ", ".join(f"{slope:.3f}" for slope in slopes.values()),
        expected=f"1.00 +- {SLOPE_TOLERANCE} over {len(LEARNING_RATES) - 1} halvings",
        numbers=slopes,
        charts=(_order_chart(points),),
    )


def _order_chart(points: dict[str, Series]) -> Curves:
    rates, errors = next(iter(points.values()))
    slope_one = [errors[0] * rate / rates[0] for rate in rates]
    return Curves(
        title="Distance from descent to flow at equal times",
        x_label="learning rate",
        y_label="largest relative error of the product",
        lines={"slope 1": (rates, slope_one)},
        points=points,
        log_x=True,
        log_y=True,
        caption=f"Completion of the Seattle temperatures, flow time 0 to {HORIZON:g}.",
    )


def _check_drift(studies: _Studies) -> Verdict:
    flows, slopes, points, lines = {}, {}, {}, {}
    for depth, study in studies.by_depth.items():
        drifts = [conserved_drift(descent) for descent in study.descents]
        problem, factors = _problem_and_start(depth)
        kept = conserved_drift(integrate(FactorFlow(problem), factors, study.flow.ts, rtol=RTOL))
        flows[f"drift under flow, depth {depth}"] = kept
        slopes[f"slope of descent's drift, depth {depth}"] = fitted_order(LEARNING_RATES, drifts)
        points[f"descent, depth {depth}"] = (LEARNING_RATES, drifts)
        lines[f"flow at rtol {RTOL:g}, depth {depth}"] = (LEARNING_RATES, [kept] * len(drifts))
    largest = {
        f"drift under {name} at {rates[0]}": drifts[0] for name, (rates, drifts) in points.items()
    }
    slope_words = ", ".join(f"{slope:.3f}" for slope in slopes.values())
    return Verdict(
        passed=max(flows.values()) <= DRIFT_PER_RTOL * RTOL
        and all(abs(slope - 1) <= SLOPE_TOLERANCE for slope in slopes.values()),
        kind="measured",
        measured=f"flow {max(flows.values()):.1e}; descent {max(largest.values()):.1e} at learning "
        f"rate {LEARNING_RATES[0]}, falling with slopes {slope_words}",
        expected=f"flow at most {DRIFT_PER_RTOL} rtol = {DRIFT_PER_RTOL * RTOL:.0e}; "
        f"slopes 1.00 +- {SLOPE_TOLERANCE}",
        numbers={**flows, **largest, **slopes},
        charts=(_drift_chart(lines, points),),
    )


def _drift_chart(lines: dict[str, Series], points: dict[str, Series]) -> Curves:
    return Curves(
        title="Drift of the conserved quantities",
        x_label="learning rate",
        y_label="max |D_j(t) - D_j(0)| / |W_j|^2",
        lines=lines,
        points=points,
        log_x=True,
        log_y=True,
        caption="D_j = W_{j+1}^T W_{j+1} - W_j W_j^T along the same training as above.",
    )
