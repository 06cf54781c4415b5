"""Every claim of the catalogue holds, and fails where the theory is changed."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowkit import symbolic
from flowkit.claim import Claim, Verdict
from flowkit.claims import (
    all_claims,
    completion,
    derivations,
    factorization,
    implicit_bias,
    kernels as kernel_claims,
    nuclear_norm,
    stiffness,
    training,
    two_layers,
    verification,
)
from flowkit.claims.verification import verify
from flowkit.dynamics import policy

CLAIMS = {claim.name: claim for claim in (*all_claims(), *all_claims(quick=True))}


@pytest.mark.slow
@pytest.mark.parametrize("name", CLAIMS)
def test_the_claim_holds(name):
    """In its quick form, if it has one."""
    with jax.numpy_dtype_promotion("standard"):  # as users have it
        verdict = CLAIMS[name].check()
    assert verdict.passed, verdict.measured


def test_names_are_unique_in_both_catalogues():
    for quick in (False, True):
        claims = all_claims(quick=quick)
        assert len({claim.name for claim in claims}) == len(claims)


def _check(name):
    (claim,) = (claim for claim in all_claims(quick=True) if claim.name == name)
    return claim.check()


def test_a_wrong_exponent_breaks_the_singular_value_law(monkeypatch):
    wrong = lambda depth: symbolic.singular_value_flow(depth + 1)
    monkeypatch.setattr(factorization, "singular_value_flow", wrong)
    assert not _check("singular-value law").passed


def test_a_wrong_depth_breaks_the_closed_forms(monkeypatch):
    wrong = lambda depth: symbolic.mode_solution(depth + 1)
    monkeypatch.setattr(factorization, "mode_solution", wrong)
    assert not factorization._check_modes((2,)).passed


def test_a_wrong_depth_breaks_the_end_to_end_flow(monkeypatch):
    right = factorization.EndToEndFlow
    monkeypatch.setattr(factorization, "EndToEndFlow", lambda p, depth: right(p, depth + 1))
    assert not _check("end-to-end flow, integrated").passed


def test_a_law_that_is_not_conserved_breaks_balancedness(monkeypatch):
    flow = symbolic.factor_flow(2)
    law = flow.conserved[0]
    changed = law.subs(flow.state[1], 2 * flow.state[1])
    moving = dict(zip(flow.state, flow.rates, strict=True))
    claim = symbolic.balancedness.conservation_claim(changed, moving)
    broken = lambda depth: dataclasses.replace(flow, claims=(claim,))
    monkeypatch.setattr(factorization, "factor_flow", broken)
    assert not _check("balancedness").passed


@pytest.mark.slow
def test_a_coarse_flow_breaks_the_conserved_drift(monkeypatch):
    """The bound is ten times the tolerance that is claimed, not the one that is used."""
    right = training.integrate
    coarse = lambda *arguments, rtol: right(*arguments, rtol=1e3 * rtol)
    monkeypatch.setattr(training, "integrate", coarse)
    assert not _check("conserved drift").passed


@pytest.mark.slow
def test_a_large_start_breaks_the_recovery_of_low_rank(monkeypatch):
    monkeypatch.setattr(completion, "SCALE", 1.0)
    assert not _check("depth recovers low rank").passed


@pytest.mark.slow
def test_a_shallow_network_breaks_the_completion_of_temperatures(monkeypatch):
    right = completion._complete
    monkeypatch.setattr(completion, "_complete", lambda split, depth: right(split, 1))
    assert not _check("completion of real temperatures").passed


@pytest.mark.slow
def test_a_wrong_kernel_scale_breaks_the_agreement_with_regression(monkeypatch):
    right = kernel_claims.KernelFlow
    wrong = lambda gram, targets, test: right(1.01 * gram, targets, test)
    monkeypatch.setattr(kernel_claims, "KernelFlow", wrong)
    assert not kernel_claims._check_flow(kernel_claims._Study(kernel_claims._draw(30))).passed


@pytest.mark.slow
def test_shuffled_labels_break_the_accuracy():
    data = kernel_claims._draw(40)
    shuffled = np.random.default_rng(0).permutation(data.labels)
    study = kernel_claims._Study(dataclasses.replace(data, labels=shuffled))
    assert not kernel_claims._check_accuracy(study).passed


def test_the_other_sign_of_lambda_breaks_the_two_layer_solution(monkeypatch):
    right = two_layers.closed_form
    wrong = lambda Q, target, balance, time: right(Q, target, -balance, time)
    monkeypatch.setattr(two_layers, "closed_form", wrong)
    assert not two_layers._check_balances().passed


@pytest.mark.slow
def test_a_single_layer_breaks_the_least_nuclear_norm(monkeypatch):
    """Depth 1 comes to the least Frobenius norm."""
    right = nuclear_norm.initial.identity
    wrong = lambda problem, depth, scale: right(problem, 1, scale)
    monkeypatch.setattr(nuclear_norm.initial, "identity", wrong)
    assert not nuclear_norm._check_least_norm().passed


@pytest.mark.slow
def test_a_sign_breaks_the_least_nuclear_norm(monkeypatch):
    """Measurements whose dual solution has another slack fall at another order."""
    monkeypatch.setattr(nuclear_norm, "MEASUREMENTS", nuclear_norm.MEASUREMENTS * [1, 1, 1, -1])
    monkeypatch.setattr(nuclear_norm, "DEPTHS", (2,))
    assert nuclear_norm._check_least_norm().passed  # that slack is not the smallest
    monkeypatch.setattr(nuclear_norm, "MEASUREMENTS", nuclear_norm.MEASUREMENTS * [1, 1, -1, 1])
    assert not nuclear_norm._check_least_norm().passed


@pytest.mark.slow
def test_a_convex_power_breaks_the_largest_quasi_norm(monkeypatch):
    monkeypatch.setattr(nuclear_norm, "POWER", 2.0)
    assert not nuclear_norm._check_quasi_norm().passed


def test_a_start_of_negative_determinant_breaks_the_divergence(monkeypatch):
    right = implicit_bias.initial.identity

    def reflected(problem, depth, scale):
        first, *others = right(problem, depth, scale)
        return (first * jnp.array([[1.0, 1.0], [1.0, -1.0]]), *others)

    monkeypatch.setattr(implicit_bias.initial, "identity", reflected)
    assert not implicit_bias._check_divergence().passed


@pytest.mark.slow
def test_a_larger_scale_breaks_rank_before_norm(monkeypatch):
    monkeypatch.setattr(implicit_bias, "SCALES", (1e-1, 1e-2, 1e-4, 1e-5))
    monkeypatch.setattr(implicit_bias, "DEEP_SCALES", (1e-12,))
    assert not implicit_bias._check_greedy().passed


@pytest.mark.slow
def test_a_coarse_flow_breaks_the_tail(monkeypatch):
    right = stiffness.integrate
    coarse = lambda *arguments, rtol, **options: right(*arguments, rtol=1e3 * rtol, **options)
    monkeypatch.setattr(stiffness, "integrate", coarse)
    assert not stiffness._check_tail().passed


@pytest.mark.slow
def test_few_stages_break_the_number_of_products(monkeypatch):
    monkeypatch.setattr(policy, "LINEAR_POLICY", policy.POLICY)
    assert not stiffness._check_products().passed


def test_a_derivation_with_a_false_claim_fails(monkeypatch):
    flow = symbolic.factor_flow(2)
    wrong = symbolic.balancedness.conservation_claim(
        flow.conserved[0], dict(zip(flow.state, reversed(flow.state), strict=True))
    )
    assert derivations._check(flow).kind == "proved"
    broken = derivations._check(dataclasses.replace(flow, claims=(*flow.claims, wrong)))
    assert not broken.passed
    assert broken.numbers["failed"] == 1
    assert not derivations._check(dataclasses.replace(flow, claims=())).passed


def _made_up(name, outcome):
    def check():
        if isinstance(outcome, BaseException):
            raise outcome
        return Verdict(passed=outcome, kind="measured", measured="m", expected="e")

    return Claim(name, "statement", "source", check)


@pytest.fixture
def made_up_catalogue(monkeypatch):
    def use(**outcomes):
        claims = tuple(_made_up(name, outcome) for name, outcome in outcomes.items())
        monkeypatch.setattr(verification, "all_claims", lambda *, quick: claims)

    return use


def test_verify_runs_the_claims_that_are_named(made_up_catalogue, tmp_path):
    made_up_catalogue(first=True, second=False, third=True)
    report = verify(["third", "first"], out=tmp_path)
    assert [entry.claim.name for entry in report.entries] == ["third", "first"]
    assert report.passed
    assert (tmp_path / "index.html").exists()


def test_a_check_that_breaks_has_failed_and_the_others_go_on(made_up_catalogue):
    made_up_catalogue(first=ArithmeticError("it broke"), second=True)
    report = verify()
    assert [entry.verdict.passed for entry in report.entries] == [False, True]
    assert report.entries[0].verdict.measured == "ArithmeticError: it broke"
    assert "in check" in report.as_dict()["claims"][0]["traceback"]


def test_an_interrupted_run_reports_what_was_checked(made_up_catalogue, tmp_path):
    made_up_catalogue(first=True, second=KeyboardInterrupt(), third=True)
    report = verify(out=tmp_path)
    assert [entry.claim.name for entry in report.entries] == ["first"]
    assert report.remaining == ("second", "third")
    assert not report.passed
    assert '"not_checked": [\n    "second"' in (tmp_path / "report.json").read_text()


def test_one_name_is_enough(made_up_catalogue):
    made_up_catalogue(first=True, second=True)
    assert [entry.claim.name for entry in verify("second").entries] == ["second"]


def test_a_report_without_a_place_is_refused_before_the_work(made_up_catalogue, tmp_path):
    made_up_catalogue(first=RuntimeError("the work began"))
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ValueError, match="`out` must be a folder"):
        verify(out=tmp_path / "taken")


def test_a_kill_leaves_what_was_checked(made_up_catalogue, tmp_path):
    """SystemExit is not caught, so nothing runs after it: as for a kill."""
    made_up_catalogue(first=True, second=SystemExit(), third=True)
    with pytest.raises(SystemExit):
        verify(out=tmp_path)
    data = json.loads((tmp_path / "report.json").read_text())
    assert [claim["name"] for claim in data["claims"]] == ["first"]
    assert data["not_checked"] == ["second", "third"]
    assert data["passed"] is False


def test_an_unknown_name_is_refused(made_up_catalogue):
    made_up_catalogue(first=True)
    with pytest.raises(ValueError, match=r"'second' is none of \['first'\]"):
        verify(["second"])


def test_single_precision_is_refused():
    with jax.enable_x64(False), pytest.raises(ValueError, match="must be checked in float64"):
        verify([])
