"""The flow of any derivation, as it was derived."""

from collections.abc import Callable, Mapping
from typing import ClassVar, final

import equinox as eqx
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Num, PyTree, Scalar

from flowkit.fields.base import AbstractVectorField, Time
from flowkit.lowering import lower, lower_expression
from flowkit.symbolic import Derivation
from flowkit.symbolic.derivation import TIME
from flowkit.trajectory import FLOW_TIME

State = dict[str, Num[ArrayLike, "..."]]
Datum = Num[ArrayLike, "..."] | Callable[[State], Num[ArrayLike, "..."]]


@final
class DerivedFlow(AbstractVectorField):
    """The flow of a derivation: d(state)/dt = rates(t, state, data), lowered.

    The state is a dictionary that holds an array for every symbol of `derivation.state`, by its
    name. Time is that of the derivation: flow time under the loss as it was written.

    Attributes:
        derivation: What `symbolic.derive`, `symbolic.modified_flow` and the like return.
        data: The value of every symbol of `derivation.data`, by its name. A function of the state
            stands for data that move with it, like the G of `symbolic.factor_flow`.
        objective: The training loss as a function of the state; None takes the one that was
            derived.

    Source:
        The derivation's own. Checked by tests/fields/test_derived.py.
    """

    derivation: Derivation = eqx.field(static=True)
    data: dict[str, Array | Callable[[State], Num[ArrayLike, "..."]]]
    objective: Callable[[State], Scalar] | None
    clock: ClassVar[str] = FLOW_TIME

    def __init__(
        self,
        derivation: Derivation,
        data: Mapping[str, Datum] | None = None,
        *,
        loss: Callable[[State], Scalar] | None = None,
    ):
        self.derivation, self.objective = derivation, loss
        self.data = {name: _as_datum(value) for name, value in (data or {}).items()}

    def __check_init__(self):
        if not isinstance(self.derivation, Derivation):
            raise ValueError(
                f"Argument `derivation` must be a Derivation, such as `symbolic.derive` returns, "
                f"but it is a `{type(self.derivation).__name__}`."
            )
        _check_names("data", [s.name for s in self.derivation.data], self.data)
        known = self.derivation.loss
        if self.objective is None and (known is None or known.has(TIME)):
            reason = "knows none" if known is None else "has one that depends on time"
            raise ValueError(
                f"Argument `loss` must be a function of the state, as the {self.derivation.name} "
                f"{reason}, but it is None."
            )

    def __call__(self, t: Time, y: PyTree, args: None = None) -> PyTree:
        return lower(self.derivation)(t, y, self._data_at(y))

    def loss(self, y: PyTree) -> Scalar:
        if self.objective is not None:
            return self.objective(y)
        symbols = (*self.derivation.state, *self.derivation.data)
        values = y | self._data_at(y)
        return lower_expression(self.derivation.loss, symbols)(*(values[s.name] for s in symbols))

    def check(self, y0: PyTree) -> None:
        if not isinstance(y0, dict):
            raise ValueError(
                f"Argument `y0` must be a dictionary of arrays by the names of symbols, but it is "
                f"a `{type(y0).__name__}`."
            )
        _check_names("y0", [s.name for s in self.derivation.state], y0)
        eqx.filter_eval_shape(self, 0.0, y0)  # refuses shapes that do not fit

    def _data_at(self, y: State) -> State:
        return {
            name: value(y) if callable(value) else value  # an array is not callable
            for name, value in self.data.items()
        }


def _as_datum(value: Datum) -> Array | Callable[[State], Num[ArrayLike, "..."]]:
    if callable(value):
        return value
    array = jnp.asarray(value)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


def _check_names(argument: str, names: list[str], values: Mapping[str, object]) -> None:
    if set(names) != set(values):
        raise ValueError(
            f"Argument `{argument}` must hold a value for each of {sorted(names)} and no other, "
            f"but it has {sorted(values)}."
        )
