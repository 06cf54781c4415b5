"""Everything that derives something, by name: one line each."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast

from flowkit.lowering import rule_claim
from flowkit.symbolic import instances
from flowkit.symbolic.activations import ACTIVATIONS
from flowkit.symbolic.breaking import decayed_factor_flow, step_defect
from flowkit.symbolic.closed_forms import mode_solution
from flowkit.symbolic.convolutional_recursions import cntk_recursion
from flowkit.symbolic.diagonal_networks import diagonal_network
from flowkit.symbolic.duals import dual
from flowkit.symbolic.factorization import end_to_end_flow, factor_flow, singular_value_flow
from flowkit.symbolic.kernel_dynamics import kernel_flow
from flowkit.symbolic.kernel_recursions import ntk_recursion
from flowkit.symbolic.kernel_solution import kernel_solution, ridge_flow
from flowkit.symbolic.operator import end_to_end_spectrum
from flowkit.symbolic.presentation import Depth, Derived
from flowkit.symbolic.quadrature import QuadratureDual
from flowkit.symbolic.riccati import riccati_solution
from flowkit.symbolic.rules import rule_flow
from flowkit.symbolic.saturation import two_coordinates
from flowkit.symbolic.scalars import scalar_factors
from flowkit.symbolic.spectral import singular_vector_flow
from flowkit.symbolic.stationary import rank_preservation, stationary_vectors
from flowkit.symbolic.two_layers import two_layer_riccati

RULES = ("adagrad", "adam", "heavy ball", "momentum", "nesterov", "rmsprop", "sign")
DEFAULT_DEPTH = 3

# The depths at which a derivation is checked where these are more than the default.
DEPTHS: dict[str, tuple[Any, ...]] = {
    "end-to-end-spectrum": (2, 3, instances.ANY_DEPTH),
    "mode-solution": (1, 2, 3, 4, instances.ANY_DEPTH, instances.INFINITE_DEPTH),
    "ntk-recursion": (2, 3, 4),
    "rank-preservation": (2, 3, instances.ANY_DEPTH),
    "singular-vector-flow": (2, 3, 4, instances.ANY_DEPTH),
    "stationary-vectors": (2, 3, instances.ANY_DEPTH),
    "two-coordinates": (1, 2, 3, 4, instances.ANY_DEPTH),
}

Derivable = Callable[..., Derived]


def _dual(*activation: Any, **parameters: int) -> Derivable:
    """The dual of an activation; where it is an integration rule, with what numbers say of it."""

    def derived() -> Derived:
        found = dual(*activation, **parameters)
        if isinstance(found, QuadratureDual):
            return cast(Derived, replace(found, claims=(rule_claim(found),)))
        return cast(Derived, found)

    return derived


DUALS = {name.replace("_", "-"): _dual(name) for name in ACTIVATIONS} | {
    "polynomial": _dual(instances.CUBIC),
    "relu-squared": _dual("relu", power=2),
}

# Name -> a function of `depth`, or of nothing where depth plays no part.
REGISTRY: dict[str, Derivable] = {
    "cntk-recursion": cntk_recursion,
    "cntk-flatten-recursion": partial(cntk_recursion, readout="flatten"),
    "decayed-factor-flow": decayed_factor_flow,
    "diagonal-network": diagonal_network,
    "end-to-end-flow": end_to_end_flow,
    "end-to-end-spectrum": end_to_end_spectrum,
    "factor-flow": factor_flow,
    "heavy-ball-to-order-2": instances.heavy_ball_in_well,
    "kernel-flow": kernel_flow,
    "kernel-ridge-flow": ridge_flow,
    "kernel-solution": kernel_solution,
    "laws-of-two-layers": instances.two_layer_laws,
    "laws-of-relu-units": instances.relu_laws,
    "mode-solution": mode_solution,
    "modified-flow": instances.modified_well,
    "ntk-recursion": ntk_recursion,
    "penalised-flow": instances.penalised_well,
    "rank-preservation": rank_preservation,
    "reshuffled-flow": instances.reshuffled_wells,
    "scalar-factors": scalar_factors,
    "sgd-equation": instances.sampled_wells,
    "singular-value-flow": singular_value_flow,
    "singular-vector-flow": singular_vector_flow,
    "stationary-vectors": stationary_vectors,
    "step-defect": step_defect,
    "two-coordinates": two_coordinates,
    "two-layer-riccati": two_layer_riccati,
    "two-layer-solution": riccati_solution,
    **{f"dual-{name}": derived for name, derived in DUALS.items()},
    **{f"{name.replace(' ', '-')}-rule": partial(rule_flow, name) for name in RULES},
}


def takes_depth(name: str) -> bool:
    """Whether a derivation depends on the number of weight layers."""
    return "depth" in inspect.signature(REGISTRY[name]).parameters


def derive_for_checks(name: str) -> tuple[Derived, ...]:
    """A derivation at every depth of `DEPTHS`, or else as `derive_by_name` gives it."""
    if name in DEPTHS:
        return tuple(REGISTRY[name](depth) for depth in DEPTHS[name])
    return (derive_by_name(name),)


def table_of_contents() -> str:
    """One line per name, and whether it takes a depth."""
    width = max(map(len, REGISTRY)) + 2
    notes = {name: "--depth N" if takes_depth(name) else "" for name in sorted(REGISTRY)}
    return "\n".join(f"{name:<{width}}{note}".rstrip() for name, note in notes.items())


def derive_by_name(name: str, depth: Depth | None = None) -> Derived:
    """Derive a result by its name in `REGISTRY`.

    Args:
        name: A key of `REGISTRY`.
        depth: The number of weight layers, 3 where omitted; some results take a SymPy symbol.

    Returns:
        The result, with its equations and claims.

    Raises:
        ValueError: `name` is not in the registry, `depth` is given where it plays no part, or
            the derivation refuses it.
    """
    if name not in REGISTRY:
        known = ", ".join(sorted(REGISTRY))
        raise ValueError(f"Argument `name` must be one of {known}, but it is {name!r}.")
    if takes_depth(name):
        return REGISTRY[name](DEFAULT_DEPTH if depth is None else depth)
    if depth is not None:
        raise ValueError(f"Argument `depth` must be left out for {name!r}, but it is `{depth}`.")
    return REGISTRY[name]()
