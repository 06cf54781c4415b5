"""The command line reports, and tells a script how it went."""

import pytest
from typer.testing import CliRunner

from flowkit.claim import Claim, Verdict
from flowkit.claims import verification
from flowkit.cli import app


def _claims(*outcomes):
    def check(outcome):
        if isinstance(outcome, BaseException):
            raise outcome
        return Verdict(passed=outcome, kind="proved", measured="found", expected="sought")

    return tuple(
        Claim(f"claim {i}", "A statement.", "a source", lambda outcome=outcome: check(outcome))
        for i, outcome in enumerate(outcomes)
    )


@pytest.fixture
def run(monkeypatch, tmp_path):
    def run(*outcomes, arguments=()):
        monkeypatch.setattr(verification, "all_claims", lambda *, quick: _claims(*outcomes))
        return CliRunner().invoke(app, ["verify", "--out", str(tmp_path / "out"), *arguments])

    return run


def test_success_is_status_zero_and_says_where_the_report_is(run, tmp_path):
    result = run(True, True)
    assert result.exit_code == 0
    assert "2 of 2 claims hold" in result.output
    assert (tmp_path / "out" / "index.html").exists()
    assert (tmp_path / "out" / "report.json").exists()


def test_a_claim_that_fails_is_status_one(run):
    result = run(True, False)
    assert result.exit_code == 1
    assert "FAILED" in result.output


def test_an_interrupt_is_status_130(run):
    result = run(True, KeyboardInterrupt(), True)
    assert result.exit_code == 130
    assert "2 not checked" in result.output


def test_an_unknown_claim_is_a_usage_error(run):
    result = run(True, arguments=["nonsense"])
    assert result.exit_code == 2
    assert "nonsense" in result.output


def test_claims_are_listed():
    result = CliRunner().invoke(app, ["verify", "--list"])
    assert result.exit_code == 0
    assert "balancedness" in result.output


@pytest.mark.parametrize("arguments", [["--help"], ["verify", "--help"]])
def test_help_is_shown(arguments):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "verify" in result.output
