"""Every numbered statement of the theory has a claim, and a test in which a change makes it fail.

Statements are numbered as in the theory that flowkit implements: A are deep linear factorizations,
B infinitely wide networks, C discrete training. The claims are checked, and the changes made, by
the tests that are named here; this file keeps the map true.
"""

import ast
from functools import cache
from pathlib import Path

import pytest

from flowkit.claims import all_claims
from flowkit.registry import REGISTRY, derive_for_checks

pytestmark = pytest.mark.slow  # it derives everything

FOLDER = Path(__file__).parent
CATALOGUE = "catalogue"
CORE, VECTORS, CHECKED = "test_symbolic.py", "test_symbolic_spectral.py", "test_claims.py"
STEPS, DUALS, RULES = "test_step_claims.py", "test_duals.py", "symbolic/test_training_rules.py"
MODE, LAWS = "symbolic/test_closed_forms.py", "symbolic/test_law_numbers.py"
OPERATOR, STATIONARY, BREAKING, PATH, LAYERS, SCALARS = (
    f"symbolic/test_deep_linear_{name}.py"
    for name in ("operator", "stationary", "breaking", "saturation", "two_layers", "scalars")
)
RECURSION, CONVOLUTIONS = (
    f"symbolic/test_{name}_recursions.py" for name in ("kernel", "convolutional")
)
SOLUTION, MODIFIED = "symbolic/test_kernel_solution.py", "symbolic/test_training_modified.py"
FACTORS, NETWORK = "test_changed_scalar_factors_fail", "test_changed_diagonal_networks_fail"
PUBLISHED_PATH = "published path of two singular values, depth "
SATURATION = "saturation of the weak singular value, depth "
FORM, BACK = "test_other_forms_are_not_the_published_ones", "test_a_changed_time_fails"
SLOWER = "test_a_rule_of_another_speed_does_not_follow_its_flow"
CNTK = "test_a_changed_recursion_is_not_the_published_one"
LIMIT = ("limit of the update", "test_the_claim_fails_for_a_changed_sign")

# (derivation or catalogue, test file) -> statement -> (how its claim begins, the test)
STATEMENTS = {
    ("factor-flow", CORE): {
        "A.1": ("layer flow", "test_the_layer_flow_fails_for_a_changed_sign_or_factor"),
        "A.2 conservation": ("conserved: ", "test_balancedness_fails_for_a_changed_sign"),
    },
    ("step-defect", BREAKING): {
        "A.2 no drift of order eta": (
            "no drift of first order",
            "test_the_first_order_fails_for_a_flow_without_the_law",
        ),
        "A.2 drift of order eta^2": (
            "drift of second order",
            "test_the_second_order_fails_for_another_factor",
        ),
    },
    (CATALOGUE, CHECKED): {
        "A.2 measured": ("conserved drift", "test_a_coarse_flow_breaks_the_conserved_drift"),
        "A.3 measured": (
            "end-to-end flow, integrated",
            "test_a_wrong_depth_breaks_the_end_to_end_flow",
        ),
        "A.4 measured": (
            "singular-value law",
            "test_a_wrong_exponent_breaks_the_singular_value_law",
        ),
        "A.6 measured": ("one-mode closed forms", "test_a_wrong_depth_breaks_the_closed_forms"),
        "A.8 nuclear norm, measured": (
            "least nuclear norm",
            "test_a_single_layer_breaks_the_least_nuclear_norm",
        ),
        "A.8 quasi-norm, measured": (
            "largest quasi-norm",
            "test_a_convex_power_breaks_the_largest_quasi_norm",
        ),
        "A.12 both signs of lambda, measured": (
            "lambda-balanced closed form",
            "test_the_other_sign_of_lambda_breaks_the_two_layer_solution",
        ),
        "B.3 measured": (
            "kernel flow is kernel regression",
            "test_a_wrong_kernel_scale_breaks_the_agreement_with_regression",
        ),
    },
    (CATALOGUE, "test_finite_width_claims.py"): {
        "B.3 Theorem 3.1, measured": (
            "wide networks have the exact kernel",
            "test_the_kernel_claim_fails_under",
        ),
        "B.3 Theorem 3.2, measured": (
            "a trained wide network is",
            "test_the_training_claim_fails_under",
        ),
    },
    ("end-to-end-flow", CORE): {
        "A.3": ("end-to-end flow is the", "test_the_proof_fails_for_a_wrong_end_to_end_flow"),
    },
    ("end-to-end-spectrum", OPERATOR): {
        "A.3 eigenvalues": ("eigenvalues of the end-to-end", "test_a_changed_exponent_fails"),
        "A.3 where s_i = s_j": ("limits of the end-to-end", "test_a_changed_limit_fails"),
        "A.3 positive, the loss falls": ("the loss falls", "test_a_changed_sign_fails"),
        "A.3 infinite depth": (
            "the end-to-end operator of infinite depth",
            "test_a_changed_deep_limit_fails",
        ),
    },
    ("rank-preservation", STATIONARY): {
        "A.3 rank does not grow": (
            "a zero singular value rests",
            "test_one_factor_does_not_keep_the_rank",
        ),
        "A.3 rank does not fall": ("a positive singular", "test_a_smaller_exponent_fails"),
    },
    ("singular-value-flow", CORE): {
        "A.4": (
            "singular value flow on diagonal matrices",
            "test_the_diagonal_witness_fails_for_a_wrong_law",
        ),
    },
    ("singular-vector-flow", VECTORS): {
        "A.5 dU/dt, dV/dt": ("reassembly of", "test_the_reassembly_fails_for_a_wrong_rate"),
        "A.5 powers": ("scaling of", "test_the_scaling_fails_for_another_power"),
    },
    ("stationary-vectors", STATIONARY): {
        "A.5 corollary": (
            "stationary singular vectors",
            "test_the_corollary_fails_where_the_two_turns_are_the_same",
        ),
    },
    ("mode-solution", MODE): {
        **{f"A.6 N = {n}": (f"published forms of a mode, depth {n}", FORM) for n in (1, 2, 4)},
        "A.6 N = 3": ("t(s) differentiates back, depth 3", BACK),
        "A.6 N = oo": ("published forms of a mode, depth oo", FORM),
        "A.6 s(t)": ("s(t) solves the flow, depth 2", "test_a_changed_value_fails"),
        "A.6 any N": (
            "t(s) differentiates back, depth N",
            "test_a_changed_general_time_fails_on_either_side",
        ),
        "A.6 limit of N t": (
            "infinite depth is the limit",
            "test_the_limit_and_the_reduction_fail_for_a_wrong_partner",
        ),
        "A.6, A.12, A.13 mean": (
            "clock of a mean of squares, depth 2",
            "test_a_mean_of_squares_runs_at_no_other_speed",
        ),
    },
    ("two-coordinates", PATH): {
        **{
            f"A.7 N = {n}": (f"{PUBLISHED_PATH}{n}", "test_a_changed_sign_fails") for n in (1, 2, 3)
        },
        "A.7 any N >= 3": (f"{PUBLISHED_PATH}N", "test_a_changed_sign_fails"),
        "A.7 slope": ("path of two singular", "test_a_changed_slope_fails"),
        "A.7 1.5625": (f"{SATURATION}3", "test_a_changed_limit_fails"),
        "A.7 0.625": (f"{SATURATION}4", "test_a_changed_limit_fails"),
    },
    ("two-layer-riccati", LAYERS): {
        "A.12": ("Riccati equation of two", "test_the_other_sign_of_lambda_fails"),
        "A.12 F is singular": ("singular generator", "test_the_other_sign_of_lambda_fails"),
        "A.12 F": ("generator of the Riccati", "test_the_other_sign_of_lambda_fails"),
    },
    ("two-layer-solution", LAYERS): {
        "A.12 Q Q^T": ("closed form of the", "test_a_closed_form_with_another_sign_fails"),
        "A.12 start": ("start of the", "test_a_closed_form_of_twice_the_size_fails"),
        "A.12 integral": ("integral of the", "test_an_exponential_of_another_rate_fails"),
    },
    ("scalar-factors", SCALARS): {
        "A.13": ("flow of a product of two numbers", FACTORS),
        "A.13 solved": ("z(t) of two scalar factors", FACTORS),
    },
    ("diagonal-network", SCALARS): {
        "A.14 sinh": ("path of a diagonal network", NETWORK),
        "A.14 X^T nu": ("diagonal network on linear measurements", NETWORK),
        "A.14 minimum": ("stationarity of the limit", NETWORK),
        "A.14 the only one": ("convexity of the penalty", NETWORK),
        "A.14 kernel and rich": ("kernel and rich regime", NETWORK),
    },
    ("laws-of-two-layers", "symbolic/test_conservation.py"): {
        "A.15": ("3 laws of 10", "test_the_claims_of_a_count_fail_for_a_change"),
    },
    ("laws-of-two-layers", LAWS): {
        "A.15 U V^T": ("3 laws, as published", "test_other_numbers_of_two_factor_laws_fail"),
    },
    ("laws-of-relu-units", LAWS): {
        "A.15 ReLU": ("2 laws, as published", "test_other_numbers_of_relu_laws_fail"),
    },
    ("dual-relu", DUALS): {
        "B.1 ReLU": ("arc-cosine kernels", "test_other_kernels_are_no_arc_cosines"),
    },
    ("ntk-recursion", RECURSION): {
        "B.1 layer": ("induction step", "test_a_changed_step_is_noticed"),
        "B.1 sum": (
            "closed sum",
            "test_a_changed_layer_breaks_the_closed_sum_and_the_diagonal",
        ),
        "B.1 diagonal": ("diagonal of the", "test_a_changed_covariance_breaks_the_diagonal"),
        **{
            f"B.1 orthogonal, L = {L}": (
                f"orthogonal inputs of the NTK recursion, depth {L + 1}",
                "test_orthogonal_inputs_fail_for_a_changed_sign_or_scale",
            )
            for L in (1, 2, 3)
        },
    },
    ("cntk-recursion", CONVOLUTIONS): {
        "B.2 GAP": ("published recursion", CNTK),
        "B.2 1 x 1 filters": ("filters of one entry", "test_a_changed_step_is_noticed"),
    },
    ("cntk-recursion", RECURSION): {
        "B.2 equal shifts": ("induction step", "test_a_changed_step_is_noticed"),
    },
    ("cntk-flatten-recursion", CONVOLUTIONS): {"B.2 V": ("published recursion", CNTK)},
    ("kernel-flow", CORE): {
        "B.3 du/dt": ("kernel flow from", "test_kernel_flow_fails_for_a_changed_sign"),
        "B.3 u(t)": ("kernel flow's solution", "test_another_solution_of_kernel_flow_fails"),
    },
    ("kernel-solution", SOLUTION): {
        "B.3 alpha(t)": ("weights of", "test_a_changed_solution_is_noticed"),
        "B.3 f(t)": ("outputs of", "test_a_changed_output_is_noticed"),
        "B.3 start": ("start of", "test_a_changed_solution_is_noticed"),
        "B.3 regression": ("end of", "test_a_changed_output_is_noticed"),
    },
    ("kernel-ridge-flow", SOLUTION): {
        "B.3 ridge": ("ridge flow from", "test_a_changed_sign_of_the_ridge_is_noticed"),
    },
    (CATALOGUE, STEPS): {
        "C.1 slope 1": (
            "descent follows the flow",
            "test_descent_is_not_of_order_one_against_a_corrected_flow",
        ),
        "C.1 bound": (
            "bound on descent's distance",
            "test_the_bound_fails_for_the_other_sign_in_the_exponent",
        ),
        "C.2 slopes 1, 2, 3": (
            "modified flows",
            "test_another_sign_or_power_of_the_learning_rate_is_no_modified_flow",
        ),
        "C.4 slope 1": ("momentum follows its flows", SLOWER),
        "C.5 slope 1": ("adaptive rules follow their flows", SLOWER),
    },
    ("penalised-flow", MODIFIED): {
        "C.2 penalty": (
            "implicit gradient penalty",
            "test_order_one_is_gradient_flow_of_a_penalised_loss",
        ),
    },
    ("modified-flow", MODIFIED): {
        "C.2 one step": ("steps of", "test_the_proof_fails_for_a_wrong_correction"),
    },
    **{
        (f"{rule}-rule", RULES): {f"{number} {rule}": LIMIT}
        for number, rules in {
            "C.4": ("momentum", "heavy-ball", "nesterov"),
            "C.5": ("adam", "rmsprop", "adagrad", "sign"),
        }.items()
        for rule in rules
    },
}
ROWS = {
    statement: (*place, *row)
    for place, rows in STATEMENTS.items()
    for statement, row in rows.items()
}
NUMBERS = [f"A.{n}" for n in (*range(1, 9), 12, 13, 14, 15)]
NUMBERS += ["B.1", "B.2", "B.3", "C.1", "C.2", "C.4", "C.5"]


@cache
def _claims(carrier):
    if carrier == CATALOGUE:
        return [claim.name for claim in all_claims()]
    assert carrier in REGISTRY
    return [claim.name for derived in derive_for_checks(carrier) for claim in derived.claims]


@cache
def _tests(file):
    nodes = ast.walk(ast.parse((FOLDER / file).read_text("utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("carrier", "file", "begins", "test"), ROWS.values(), ids=ROWS)
def test_the_statement_has_a_claim_and_a_change_that_breaks_it(carrier, file, begins, test):
    assert any(name.startswith(begins) for name in _claims(carrier))
    assert test in _tests(file)


def test_every_statement_is_on_the_map():
    assert sum(len(rows) for rows in STATEMENTS.values()) == len(ROWS)
    assert {row.split()[0].rstrip(",") for row in ROWS} == set(NUMBERS)


def test_every_derivation_is_a_claim_of_the_catalogue():
    names = {carrier for carrier, _ in STATEMENTS} - {CATALOGUE}
    assert {f"derivation: {name}" for name in names} <= set(_claims(CATALOGUE))
