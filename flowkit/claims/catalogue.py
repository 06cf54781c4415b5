"""The catalogue of claims."""

from flowkit.claim import Claim
from flowkit.claims.completion import completion_claims
from flowkit.claims.derivations import derivation_claims
from flowkit.claims.factorization import factorization_claims
from flowkit.claims.finite_width import finite_width_claims
from flowkit.claims.implicit_bias import implicit_bias_claims
from flowkit.claims.kernels import kernel_claims
from flowkit.claims.nuclear_norm import nuclear_norm_claims
from flowkit.claims.steps import step_claims
from flowkit.claims.stiffness import stiffness_claims
from flowkit.claims.training import training_claims
from flowkit.claims.two_layers import two_layer_claims


def all_claims(*, quick: bool = False) -> tuple[Claim, ...]:
    """All claims that `verify` checks, in the order of the story they tell.

    Args:
        quick: Fewer depths, splits and images, under the same bounds, and without the claims on
            finite networks, on two layers, on implicit bias, on steps, on stiff flows and of other
            derivations.

    Returns:
        Claims with unique names.
    """
    return tuple(claim for theme in themes(quick=quick) for claim in theme)


def themes(*, quick: bool = False) -> tuple[tuple[Claim, ...], ...]:
    """The catalogue by theme: claims of one theme share what they compute and compile."""
    short = (
        factorization_claims(quick=quick),
        training_claims(quick=quick),
        completion_claims(quick=quick),
        kernel_claims(quick=quick),
    )
    return short if quick else (*short, *_longer_themes())


def _longer_themes() -> tuple[tuple[Claim, ...], ...]:
    """The longest first, so that processes end together."""
    return (
        stiffness_claims(),
        finite_width_claims(),
        step_claims(),
        nuclear_norm_claims(),
        implicit_bias_claims(),
        two_layer_claims(),
        derivation_claims(),
    )
