"""Claims that derivations make of themselves: one entry for each derivation of the registry."""

from flowkit.claim import Claim, Verdict
from flowkit.registry import REGISTRY, derive_by_name
from flowkit.symbolic.presentation import Derived


def derivation_claims() -> tuple[Claim, ...]:
    """For everything that can be derived by name, that all it states of itself holds."""
    return tuple(_claim(name) for name in sorted(REGISTRY))


def _claim(name: str) -> Claim:
    """Derived only when it is checked, so that a list of claims costs nothing."""
    return Claim(
        name=f"derivation: {name}",
        statement=f"All that `flowkit derive {name}` claims holds.",
        source=f"stated with it: `flowkit derive {name} --markdown`",
        check=lambda: _check(derive_by_name(name)),
    )


def _check(derived: Derived) -> Verdict:
    """Proved if every one of its claims is, measured if one of them is a number within a bound."""
    verdicts = {claim.name: claim.check() for claim in derived.claims}
    failed = [f"{name}: {v.measured}" for name, v in verdicts.items() if not v.passed]
    proved = sum(verdict.kind == "proved" for verdict in verdicts.values())
    return Verdict(
        passed=bool(verdicts) and not failed,
        kind="proved" if proved == len(verdicts) else "measured",
        measured="; ".join(failed) or f"{proved} proved, {len(verdicts) - proved} measured",
        expected=f"all {len(verdicts)} hold",
        numbers={"proved": proved, "measured": len(verdicts) - proved, "failed": len(failed)},
    )
