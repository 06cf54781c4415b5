"""The command line reports, and tells a script how it went."""

import dataclasses
import re

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from flowkit.claim import Claim, Verdict
from flowkit.claims import verification
from flowkit.cli import app, claims, derivations, kernels, studies
from flowkit.cli.terminal import options_of
from flowkit.registry import REGISTRY
from flowkit.symbolic import factor_flow


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
        return CliRunner().invoke(
            app, ["verify", "--jobs", "1", "--out", str(tmp_path / "out"), *arguments]
        )

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


@pytest.mark.parametrize(
    ("arguments", "named"),
    [([], "verify"), (["verify"], "verify"), (["kernel"], "--trained-layers")],
)
def test_help_is_shown(arguments, named):
    result = CliRunner().invoke(app, [*arguments, "--help"])
    assert result.exit_code == 0
    assert named in result.output


def test_options_are_named_as_they_are_written():
    options = options_of(derivations.derive)
    written = {"name": "NAME", "depth": "--depth", "as_latex": "--latex", "list_names": "--list"}
    assert {name: options[name] for name in written} == written


@pytest.mark.parametrize(
    "function", [claims.verify, derivations.derive, kernels.kernel, studies.reproduce]
)
def test_every_option_is_one_that_the_program_takes(function):
    taken = {p.name: p for p in get_command(app).commands[function.__name__].params}
    options = options_of(function)
    assert options.keys() == taken.keys() - {"help"}
    for name, option in options.items():
        assert option in (*taken[name].opts, name.upper())


def derive(*arguments):
    return CliRunner().invoke(app, ["derive", *arguments])


def test_a_derivation_is_printed_as_latex():
    result = derive("factor-flow", "--depth", "2", "--latex")
    assert result.exit_code == 0
    assert result.output == factor_flow(2).latex() + "\n"
    assert derive("factor-flow", "--depth", "2").output == result.output


def test_a_derivation_is_printed_as_markdown():
    result = derive("singular-value-flow", "--depth", "N", "--markdown")
    assert result.exit_code == 0
    assert "# Singular value flow, depth N" in result.output
    assert "$$\n\\dot{s} = " in result.output


def test_what_can_be_derived_is_listed():
    lines = derive("--list").output.splitlines()
    assert [line.split()[0] for line in lines] == sorted(REGISTRY)
    assert "--depth N" in next(line for line in lines if line.startswith("factor-flow"))
    assert derive().output == derive("--list").output


def test_checked_claims_are_a_table_and_status_zero():
    result = derive("factor-flow", "--depth", "3", "--check")
    assert result.exit_code == 0
    assert "3 of 3 claims hold" in result.output


def test_a_derivation_with_a_claim_that_fails_is_status_one(monkeypatch):
    broken = dataclasses.replace(factor_flow(2), claims=_claims(True, False))
    monkeypatch.setitem(REGISTRY, "broken", lambda: broken)
    result = derive("broken", "--check")
    assert result.exit_code == 1
    assert "FAILED" in result.output


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nonsense"], "factor-flow"),
        (
            ["factor-flow", "--depth", "0"],
            "Invalid value for '--depth': must be a positive integer",
        ),
        (["kernel-flow", "--depth", "2"], "left out"),
        (["factor-flow", "--depth", "2.5"], "a number or a letter"),
    ],
)
@pytest.mark.usefixtures("as_a_user")
def test_what_cannot_be_derived_is_a_usage_error(arguments, named):
    result = derive(*arguments)
    assert result.exit_code == 2
    shown = " ".join(re.sub(r"[│\n]+", " ", result.output).split())
    assert named in shown
