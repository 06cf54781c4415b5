"""Claims that derivations make of themselves: one entry for each derivation of the registry."""

from flowkit.claim import Claim, Verdict
from flowkit.registry import DEPTHS, REGISTRY, derive_for_checks
from flowkit.symbolic.presentation import Derived


def derivation_claims() -> tuple[Claim, ...]:
    """For everything that can be derived by name, that all it states of itself holds."""
    return tuple(_claim(name) for name in sorted(REGISTRY))


def _claim(name: str) -> Claim:
    """Derived only when it is checked, so that a list of claims costs nothing."""
    depths = f", at depths {', '.join(map(str, DEPTHS[name]))}" if name in DEPTHS else ""
    return Claim(
        name=f"derivation: {name}",
        statement=f"All that `flowkit derive {name}` claims holds{depths}.",
        source=f"stated with it: `flowkit derive {name} --markdown`",
        check=lambda: _check(*derive_for_checks(name)),
    )


def _check(*derived: Derived) -> Verdict:
    """Proved if every one of the claims is, measured if one of them is a number within a bound."""
    verdicts = [(claim.name, claim.check()) for one in derived for claim in one.claims]
    failed = [f"{name}: {v.measured}" for name, v in verdicts if not v.passed]
    proved = sum(verdict.kind == "proved" for _, verdict in verdicts)
    return Verdict(
        passed=all(one.claims for one in derived) and not failed,
        kind="proved" if proved == len(verdicts) else "measured",
        measured="; ".join(failed) or f"{proved} proved, {len(verdicts) - proved} measured",
        expected=f"all {len(verdicts)} hold",
        numbers={"proved": proved, "measured": len(verdicts) - proved, "failed": len(failed)},
    )
