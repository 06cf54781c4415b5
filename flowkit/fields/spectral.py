"""Flow of the singular values and vectors of a product of balanced factors."""

from typing import ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PyTree, Scalar

from flowkit.fields.base import AbstractVectorField, Time, describe
from flowkit.fields.factors import check_problem
from flowkit.lowering import lower
from flowkit.problems import AbstractProblem
from flowkit.spectrum import Spectrum
from flowkit.symbolic import singular_value_flow
from flowkit.symbolic.spectral import singular_vector_flow
from flowkit.trajectory import FLOW_TIME

UNDERFLOW = -600.0  # logarithm of a ratio of singular values below which the smaller one is nothing


@final
class SpectralFlow(AbstractVectorField):
    """The flow of a product of N balanced factors, in its singular basis.

    The state is a `Spectrum`: U, log s and V. Integrates the lowered
    `symbolic.singular_value_flow`, d(log s_r)/dt = -N s_r^{1-2/N} M_rr with M = U^T G V, and
    `symbolic.singular_vector_flow` for every pair of singular vectors. Both are homogeneous in s,
    so that they are evaluated on ratios and no singular value is divided by: a determinant can be
    followed far below the smallest number. Only distinct singular values have vectors that flow;
    the rates grow without bound where two of them meet. The rank of the state never changes.

    U and V stay orthonormal up to the tolerance of the integration.

    Attributes:
        problem: What is trained.
        depth: The number of factors N.

    Source:
        arXiv:1905.13655, Theorem 3 and Lemma 2. Checked by tests/fields/test_spectral.py.
    """

    problem: AbstractProblem
    depth: int = eqx.field(static=True)
    clock: ClassVar[str] = FLOW_TIME

    def __check_init__(self):
        check_problem(self.problem)
        if not isinstance(self.depth, int) or isinstance(self.depth, bool) or self.depth < 1:
            raise ValueError(
                f"Argument `depth` must be a positive integer, but it is {self.depth!r}."
            )

    def __call__(self, t: Time, y: PyTree, args: None = None) -> PyTree:
        U, logs, V = y.left, y.log_values, y.right
        G = self.problem.gradient(y.matrix())
        GV, GU = G @ V, G.T @ U
        M = U.T @ GV
        turn_left, turn_right = self._turns(logs, M)
        beside = self._speed(logs) * self._beside(logs.dtype)
        left, right = U @ turn_left, V @ turn_right
        if U.shape[0] > logs.size:
            left += (GV - U @ M) * beside[None, :]
        if V.shape[0] > logs.size:
            right += (GU - V @ M.T) * beside[None, :]
        unit = {"s": jnp.ones((), logs.dtype)}
        grow = lambda g: lower(singular_value_flow(self.depth))(0.0, unit, {"g": g})["s"]
        return Spectrum(left, self._speed(logs) * jax.vmap(grow)(jnp.diag(M)), right)

    def loss(self, y: PyTree) -> Scalar:
        return self.problem.loss(y.matrix())

    def check(self, y0: PyTree) -> None:
        if not isinstance(y0, Spectrum):
            raise ValueError(
                f"Argument `y0` must be a Spectrum such as Spectrum.of(W), but it is "
                f"{describe(y0)}."
            )
        rank, shape = y0.log_values.size, self.problem.shape
        if (y0.left.shape, y0.right.shape) != ((shape[0], rank), (shape[1], rank)):
            raise ValueError(
                f"Argument `y0` must be the spectrum of a matrix of shape {shape}, but its vectors "
                f"are of shapes {y0.left.shape} and {y0.right.shape} for {rank} values."
            )
        if self.depth == 1 and rank < min(shape):
            raise ValueError(
                f"Argument `y0` must have full rank at depth 1, which raises the rank, but its "
                f"rank is {rank} and its shape {shape}."
            )
        _check_orthonormal(y0)
        _check_distinct(np.asarray(y0.log_values))

    def _speed(self, log_values: Float[Array, "..."]) -> Float[Array, "..."]:
        """s^{1-2/N}: how the rates of vectors and logarithms scale with the singular values."""
        return jnp.exp((1 - 2 / self.depth) * log_values)

    def _rates(self, dtype: DTypeLike, **data: Scalar) -> dict[str, Array]:
        """The lowered rates of one pair; what is not given is zero."""
        zero = jnp.zeros((), dtype)
        still = dict.fromkeys(("u_rq", "v_rq", "u_xq", "v_yq"), zero)
        absent = dict.fromkeys(("s_r", "M_rq", "M_qr", "M_xq", "M_qy"), zero)
        return lower(singular_vector_flow(self.depth))(0.0, still, absent | data)

    def _beside(self, dtype: DTypeLike) -> Scalar:
        """The rate towards a direction outside, per unit of M and at s = 1."""
        one = jnp.ones((), dtype)
        return self._rates(dtype, s_q=one, M_xq=one)["u_xq"]

    def _turns(
        self, log_values: Float[Array, " rank"], M: Float[Array, "rank rank"]
    ) -> tuple[Float[Array, "rank rank"], Float[Array, "rank rank"]]:
        """Rotation rates of U and V, entry (r, q) that of vector q towards vector r."""

        def pair(log_r, log_q, M_rq, M_qr, same):
            top = jnp.maximum(log_r, log_q)
            ratio = lambda log: jnp.exp(jnp.maximum(log - top, UNDERFLOW))
            s_r = jnp.where(same, 0.5, ratio(log_r))
            rates = self._rates(M.dtype, s_r=s_r, s_q=ratio(log_q), M_rq=M_rq, M_qr=M_qr)
            speed = jnp.where(same, 0.0, self._speed(top))
            return speed * rates["u_rq"], speed * rates["v_rq"]

        over_q = jax.vmap(pair, in_axes=(None, 0, 0, 0, 0))
        over_pairs = jax.vmap(over_q, in_axes=(0, None, 0, 0, 0))
        same = jnp.eye(log_values.size, dtype=bool)
        return over_pairs(log_values, log_values, M, M.T, same)


def _check_orthonormal(y0: Spectrum) -> None:
    for name in ("left", "right"):
        vectors = np.asarray(getattr(y0, name))
        defect = np.abs(vectors.T @ vectors - np.eye(vectors.shape[1])).max()
        if not defect <= np.sqrt(np.finfo(vectors.dtype).eps):
            raise ValueError(
                f"Argument `y0` must have orthonormal singular vectors, but the inner products of "
                f"`{name}` are off by {defect:.2g}."
            )


def _check_distinct(log_values: Float[np.ndarray, " rank"]) -> None:
    """Refuse singular values that agree in half of their digits: their vectors are not defined."""
    order = np.argsort(log_values)
    gaps = np.diff(log_values[order])
    if gaps.size and gaps.min() < np.sqrt(np.finfo(log_values.dtype).eps):
        q, r = order[gaps.argmin() : gaps.argmin() + 2]
        raise ValueError(
            f"Argument `y0` must have distinct singular values, but those at {min(q, r)} and "
            f"{max(q, r)} have the logarithms {log_values[q]:.12g} and {log_values[r]:.12g}; "
            f"integrate FactorFlow or EndToEndFlow until they separate."
        )
