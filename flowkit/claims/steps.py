"""Claims about finite steps: how far they stray from flows, and which flows they are nearer to."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Scalar

from flowkit import rules
from flowkit.agreement import fitted_order
from flowkit.claim import Claim, Verdict
from flowkit.dynamics import descend, integrate, optimiser, study_order
from flowkit.fields import ModelFlow

Vector = Float[np.ndarray, " _steps"]
Cases = Mapping[str, tuple[rules.AbstractRule, tuple[float, ...]]]

RATES = (0.04, 0.02, 0.01)
ROOTS = tuple(h**2 for h in (0.1, 0.05, 0.025))  # a step is the root: h of root time
START, TIME = (0.4, 0.7), 1.6
SLOPE_TOLERANCE = 0.07  # relative; the next order in the learning rate bends the slope by less
EPS = 1.0
MOMENTUM: Cases = {
    "heavy ball at fixed beta": (rules.Momentum(0.3), (0.02, 0.01, 0.005)),
    "heavy ball at 1 - beta = gamma sqrt(eta)": (rules.HeavyBall(1.5), ROOTS),
    "Nesterov": (rules.Nesterov(), tuple(rate / 16 for rate in ROOTS)),
}
ADAPTIVE: Cases = {
    "Adam": (rules.Adam(3.0, 1.0, EPS), RATES),
    "RMSProp": (rules.RMSProp(1.0, EPS), RATES),
    "AdaGrad": (rules.AdaGrad(EPS), RATES),
    "sign flow": (rules.Sign(0.5, 0.5, EPS), RATES),
}
SADDLE, AWAY = (0.01, 0.05), 4.0  # near the saddle at 0, and the time it takes to leave it
SEGMENT = 5  # points between flow and descent at which the Hessian is looked at
TIGHT = 1e-10  # rtol of the flow that descent is held against


def step_claims() -> tuple[Claim, ...]:
    """The bound on descent's distance, the modified flows, and the flows of training rules."""
    return (
        Claim(
            name="bound on descent's distance",
            statement="|theta(t) - theta_k| is at most eta/2 beta gamma t e^{-int lambda_-}, with "
            "lambda_- = min(lambda_min(Hessian), 0), beta and gamma the largest |Hessian| and "
            "|gradient|; it falls in proportion to eta.",
            source="Elkabetz, Cohen 2021, arXiv:2107.06608",
            check=_check_bound,
        ),
        Claim(
            name="modified flows",
            statement="Descent is off its flow in proportion to eta, off the modified flows of "
            "order 1 and 2 to eta^2 and eta^3.",
            source="Barrett, Dherin 2021, arXiv:2009.11162; Hairer, Lubich, Wanner 2006, IX.1",
            check=lambda: _check_modified((0, 1, 2)),
        ),
        Claim(
            name="momentum follows its flows",
            statement="The heavy ball in both regimes and Nesterov's method are off their flows "
            "in proportion to a step of their clock.",
            source="Polyak 1964; Su, Boyd, Candes 2016, arXiv:1503.01243",
            check=lambda: _check_rules(MOMENTUM),
        ),
        Claim(
            name="adaptive rules follow their flows",
            statement="Adam, RMSProp and AdaGrad, and Adam at fixed betas, which becomes the sign "
            "flow, are off their flows in proportion to the learning rate.",
            source="da Silva, Gazeau 2020, arXiv:1810.13108; Ma, Wu, E 2022, arXiv:2009.06125",
            check=lambda: _check_rules(ADAPTIVE),
        ),
    )


def well(y: Float[Array, " 2"]) -> Scalar:
    """Two wells that are joined by a curved valley over a saddle at 0."""
    return (y[0] ** 2 - 1) ** 2 / 4 + 0.5 * (y[1] - y[0] ** 2) ** 2


def _check_modified(orders: tuple[int, ...]) -> Verdict:
    studies = (study_order(well, jnp.array(START), RATES, TIME, modified=n) for n in orders)
    slopes = {f"order {n}": study.slope for n, study in zip(orders, studies, strict=True)}
    return _slopes(slopes, [n + 1 for n in orders])


def _check_rules(cases: Cases) -> Verdict:
    slopes = {
        name: study_order(well, jnp.array(START), rates, TIME, rule=rule).slope
        for name, (rule, rates) in cases.items()
    }
    return _slopes(slopes, [1] * len(slopes))


def _slopes(slopes: Mapping[str, float], stated: list[int]) -> Verdict:
    pairs = zip(slopes.values(), stated, strict=True)
    return Verdict(
        passed=all(abs(slope / order - 1) <= SLOPE_TOLERANCE for slope, order in pairs),
        kind="measured",
        measured="slopes " + ", ".join(f"{slope:.3f} ({name})" for name, slope in slopes.items()),
        expected=f"slopes {', '.join(map(str, stated))} within {100 * SLOPE_TOLERANCE:g} %",
        numbers=dict(slopes),
    )


def _check_bound() -> Verdict:
    studies = {rate: _errors_and_bounds(rate) for rate in RATES}
    shares = {rate: float(np.max(errors / bounds)) for rate, (errors, bounds) in studies.items()}
    slope = fitted_order(RATES, [errors.max() for errors, _ in studies.values()])
    return Verdict(
        passed=max(shares.values()) <= 1 and abs(slope - 1) <= SLOPE_TOLERANCE,
        kind="measured",
        measured=f"at most {max(shares.values()):.2g} of the bound, slope {slope:.3f}",
        expected=f"at most 1 of the bound, slope 1 within {100 * SLOPE_TOLERANCE:g} %",
        numbers={f"share of the bound at {rate:g}": share for rate, share in shares.items()}
        | {"slope": slope},
    )


def _errors_and_bounds(rate: float) -> tuple[Vector, Vector]:
    """Distances of descent from the flow after each step, and what bounds them.

    A step adds eta^2/2 beta gamma, and multiplies what was there by 1 - eta lambda_- at most.
    """
    steps, y0 = round(AWAY / rate), jnp.array(SADDLE)
    flow = integrate(ModelFlow(well), y0, rate * np.arange(steps + 1), rtol=TIGHT).states
    descent = descend(well, y0, optimiser(None, rate), steps, learning_rate=rate).states
    extreme, lowest, gamma = _curvatures(flow, descent)
    times = rate * np.arange(1, steps + 1)
    errors = np.linalg.norm(np.asarray(descent - flow), axis=1)[1:]
    largest = rate / 2 * float(extreme) * float(gamma)
    return errors, largest * times * np.exp(growth(rate, np.minimum(np.asarray(lowest), 0))[1:])


@jax.jit
def _curvatures(
    flow: Float[Array, "time 2"], descent: Float[Array, "time 2"]
) -> tuple[Scalar, Float[Array, " time"], Scalar]:
    """beta, the lowest curvature between descent and flow at each step, and gamma."""
    shares = jnp.linspace(0.0, 1.0, SEGMENT)[:, None, None]
    between = flow[None] + shares * (descent - flow)[None]
    values = jnp.linalg.eigvalsh(jax.vmap(jax.vmap(jax.hessian(well)))(between))
    slopes = jnp.linalg.norm(jax.vmap(jax.grad(well))(flow), axis=1)
    return jnp.abs(values).max(), values[..., 0].min(axis=0), slopes.max()


def growth(rate: float, lowest: Vector) -> Vector:
    """-int lambda_- up to each step."""
    return -rate * np.concatenate([[0.0], np.cumsum(lowest[:-1])])
