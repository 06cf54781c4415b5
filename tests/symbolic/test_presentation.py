"""What is derived can be read: LaTeX, and Markdown in which every character survives."""

import re

import pytest
import sympy as sp

from flowkit.registry import REGISTRY, derive_by_name, takes_depth
from flowkit.symbolic import factor_flow, kernel_flow, mode_solution
from flowkit.symbolic.presentation import display, escape, markdown, parse_depth


def test_a_page_has_title_source_equations_and_claims():
    flow = factor_flow(2)
    page = flow.markdown()
    assert page.startswith("# Factor flow, depth 2\n\nSource: Arora, Cohen, Hazan 2018")
    assert all(display(sp.latex(equation)) in page for equation in flow.equations)
    assert page.count("$$") == 2 * len(flow.equations)
    assert page.count("\n- **") == len(flow.claims) == 2


def test_every_claim_of_a_page_keeps_its_statement():
    flow = kernel_flow()
    shown = re.sub(r"\\([\\*<~$_])", r"\1", flow.markdown())
    assert all(claim.statement in shown for claim in flow.claims)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("W_2.T*W_2", r"W_2.T\*W_2"),
        ("(_a_)", r"(\_a_)"),
        ("<G, u>", r"\<G, u>"),
        ("`a*b`, c*d", r"`a*b`, c\*d"),
        ("0 < p < 1, |w|", "0 < p < 1, |w|"),
    ],
)
def test_only_what_markdown_would_read_is_escaped(text, escaped):
    assert escape(text) == escaped


@pytest.mark.parametrize(
    ("formula", "shown"),
    [("x", "x"), ("- x", "{} - x"), (r"\operatorname{erf} x", r"\mathrm{erf} x")],
)
def test_a_formula_is_a_block_that_github_takes(formula, shown):
    assert display(formula) == f"$$\n{shown}\n$$"


@pytest.mark.parametrize("name", REGISTRY)
def test_whatever_is_registered_has_a_page_and_claims(name):
    derived = derive_by_name(name)
    assert derived.equations
    assert derived.claims
    assert markdown(derived).count("$$") == 2 * len(derived.equations)


def test_a_depth_is_passed_on_where_it_plays_a_part():
    assert derive_by_name("mode-solution", 2) is mode_solution(2)
    assert takes_depth("mode-solution")
    assert not takes_depth("kernel-flow")
    with pytest.raises(ValueError, match="`depth` must be left out for 'kernel-flow'"):
        derive_by_name("kernel-flow", 2)


@pytest.mark.usefixtures("as_a_user")
def test_a_typed_depth_is_a_number_or_a_letter():
    assert parse_depth("4") == 4
    assert parse_depth("N") == sp.Symbol("N", integer=True, positive=True)
    with pytest.raises(ValueError, match="`depth` must be a number or a letter"):
        parse_depth("2.5")
