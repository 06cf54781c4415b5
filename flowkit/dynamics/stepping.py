"""Step-size control that ends instead of stalling."""

from typing import final

import diffrax as dfx
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Float, PyTree, Scalar

SMALLEST_STEP = 4  # units of rounding of the time: a smaller step would not move it


@final
class StallGuard(dfx.AbstractAdaptiveStepSizeController):
    """Diffrax's PI controller, with a solve that cannot go on ended as a failure.

    Diffrax shrinks the step for ever where the field is not a number or blows up: a fixed `dtmin`
    would end that, but no one value suits both a tiny first step and a distant last time. Here a
    step fails when it is too small to move the time it starts from.
    """

    rtol: Float[Array, ""]
    atol: Float[Array, ""]
    controller: dfx.PIDController

    def __init__(self, rtol: Float[Array, ""], atol: Float[Array, ""]):
        self.rtol, self.atol = rtol, atol
        self.controller = dfx.PIDController(
            rtol=rtol, atol=atol, pcoeff=0.2, icoeff=0.4, norm=self.norm
        )

    @staticmethod
    def norm(error: PyTree) -> Scalar:
        """The root mean square, infinite for nan, so that such a step is rejected."""
        size = optx.rms_norm(error)
        return jnp.where(jnp.isnan(size), jnp.inf, size)

    def wrap(self, direction):
        return self  # a PI controller needs no direction

    def init(self, terms, t0, t1, y0, dt0, args, func, error_order):
        return self.controller.init(terms, t0, t1, y0, dt0, args, func, error_order)

    def adapt_step_size(
        self, t0, t1, y0, y1_candidate, args, y_error, error_order, controller_state
    ):
        keep, t0, t1, jumped, state, result = self.controller.adapt_step_size(
            t0, t1, y0, y1_candidate, args, y_error, error_order, controller_state
        )
        limits = jnp.finfo(jnp.result_type(t0))
        stalled = t1 - t0 <= jnp.maximum(SMALLEST_STEP * limits.eps * jnp.abs(t0), limits.tiny)
        result = dfx.RESULTS.where(stalled, dfx.RESULTS.dt_min_reached, result)
        return keep, t0, t1, jumped, state, result
