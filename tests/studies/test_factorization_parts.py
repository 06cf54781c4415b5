"""What studies of factorization read out of made-up parts, against numbers by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowkit.claims import implicit_bias
from flowkit.datasets import low_rank
from flowkit.problems import MatrixCompletion
from flowkit.studies.factorization import (
    by_scale,
    depth_vs_nuclear,
    greedy_rank,
    incremental,
    norms_diverge,
    optimizers,
    recovery,
    sensing,
    singular_values,
)


def test_facts_of_two_matrices():
    found = recovery.facts(np.diag([3.0, 0.0]), np.diag([1.0, 1.0]))
    assert found["error"] == pytest.approx((4 + 1) / 4)
    assert (found["nuclear_norm"], found["true_nuclear_norm"]) == pytest.approx((3, 2))
    assert (found["effective_rank"], found["true_effective_rank"]) == pytest.approx((1, 2))


def _found(scales, **series):
    """Two seeds at depth 2 of 7 observations: the facts are `series` times 1 and 3, by scale."""
    part = lambda i, seed: {name: values[i] * seed for name, values in series.items()}
    settings = by_scale.Settings(depths=(2,), scales=scales, observed=(7,), seeds=2)
    flows = {(7, 2, scale): [part(i, 1), part(i, 3)] for i, scale in enumerate(scales)}
    return by_scale.Found(settings, flows, {7: [part(0, 1), part(0, 3)]})


def test_rows_and_lines_by_scale():
    names = ("error", "nuclear_norm", "effective_rank", "true_nuclear_norm", "true_effective_rank")
    found = _found(
        (1e-3, 1e-1), **{name: (float(i), i + 0.5) for i, name in enumerate(names, start=1)}
    )
    least, small, large = by_scale._rows(found)
    expected = (7, "depth 2", "0.001", 2.0, 1.0, 3.0, 4.0, 8.0, 6.0, 10.0)
    assert tuple(small.values()) == expected
    assert tuple(least.values()) == (7, by_scale.NUCLEAR, None, *expected[3:])
    assert large["error"] == 3.0
    errors, norms, ranks = by_scale._panels(found, "", "observed").panels
    assert errors.lines["depth 2"] == ([1e-3, 1e-1], [2.0, 3.0])
    assert norms.lines["depth 2"] == ([1e-3, 1e-1], [4.0, 5.0])
    assert ranks.intervals["depth 2"] == ([1e-3, 1e-1], [3.0, 3.5], [9.0, 10.5])
    assert ranks.lines["truth"][1] == [10.0, 10.0]


def test_as_much_is_measured_as_was_asked_for():
    drawn = low_rank(4, 1, key=jax.random.key(0))
    assert sensing._measure(drawn, 6).values.shape == (6,)
    assert depth_vs_nuclear._observe(drawn, 6).values.shape == (6,)


def test_values_at_a_loss_lie_on_lines_of_logarithms():
    series = {"loss": [1e-2, 1e-4], "entry": [10.0, 1000.0], "nuclear_norm": [1.0, 3.0]}
    assert norms_diverge._at(series, "nuclear_norm", 1e-3) == pytest.approx(2.0)
    assert norms_diverge._entry_at(series, 1e-3) == pytest.approx(100.0)


@pytest.mark.slow
def test_the_product_on_the_way_to_infinity():
    """It is followed from loss to loss; at the end one entry is nearly its nuclear norm."""
    series = norms_diverge._follow(2, 1e-3, 1e-3)
    assert series["loss"][-1] == pytest.approx(1e-3, rel=1e-3)
    assert series["loss"][0] == pytest.approx(implicit_bias.PARTED, rel=1e-2)
    assert series["entry"][-1] > norms_diverge.lower_bound(1e-3)
    assert series["nuclear_norm"][-1] == pytest.approx(series["entry"][-1], rel=0.05)


@pytest.mark.parametrize("scales", [(1e-1, 1e-4), (1e-4, 1e-1)])
def test_the_smallest_start_is_held_against_the_limit(scales):
    """With R = 3 the least norm is 12, that of rank one 2 + 2 * 9."""
    parts = {
        1e-1: {"nuclear_norm": 12.0136, "effective_rank": 2.0},
        1e-4: {"nuclear_norm": 20.0, "effective_rank": 1.0},
    }
    settings = greedy_rank.Settings(depths=(3,), scales=scales)
    found = {3: [parts[scale] for scale in scales]}
    rows = greedy_rank._comparisons(settings, found, 12.0)
    assert [row.within for row in rows] == [True] * 3
    norms, ranks = greedy_rank._chart(settings, found).panels
    assert norms.lines["depth 3"] == ([1e-4, 1e-1], [20.0, 12.0136])
    assert ranks.lines["depth 3"] == ([1e-4, 1e-1], [1.0, 2.0])
    assert norms.marked


def test_when_modes_are_learnt():
    """Each rises for two units of time, the next one a unit later."""
    times = np.linspace(0.0, 10.0, 1001)
    modes = [s * np.clip((times - 1 - i) / 2, 0, 1) for i, s in enumerate(incremental.MODES)]
    rows = incremental._rows({"depth": 3, "start": 1e-3}, {"times": times, "modes": modes})
    assert [row["half_at"] for row in rows] == pytest.approx([2.0, 3.0, 4.0, 5.0])
    assert [row["90_%_at"] for row in rows] == pytest.approx([2.8, 3.8, 4.8, 5.8])
    assert [row["next"] for row in rows[:-1]] == pytest.approx([0.4] * 3)
    assert rows[-1]["next"] is None


@pytest.mark.slow
def test_a_flow_from_a_critical_scale_has_both_shares():
    found = incremental._critical(3)
    assert found["strong_share"] == pytest.approx(0.9, rel=1e-3)
    assert found["weak_share"] == pytest.approx(0.1, rel=1e-3)
    assert np.all(np.diff(found["scales"]) > 0)


def test_alignment_is_read_where_a_tenth_of_the_loss_is_left():
    part = {"loss": [4.0, 2.0, 0.2], "leading": [[0.0, 2.0, 4.0], [0.0, 1.0, 3.0]]}
    # From half to a twentieth of the loss the ratio goes from 1/2 to 3/4.
    expected = 0.5 + 0.25 * np.log(5) / np.log(10)
    assert singular_values._alignment(part, "leading") == pytest.approx(expected)


def test_the_leading_block_of_a_gradient():
    target = np.diag([2.0, 4.0, 7.0]) + np.array([[0, 3, 9], [4, 0, 9], [9, 9, 0]])
    problem = MatrixCompletion.from_matrix(target, observed=np.ones((3, 3), bool))
    on, off = singular_values.leading_alignment(problem, jnp.diag(jnp.array([6.0, 5.0, 1.0])), 2)
    assert off / on == pytest.approx(5 / np.hypot(4, 1), rel=1e-5)


def _trained(steps, error, values=(9.0, 2.0)):
    facts = {"steps": steps, "error": error, "effective_rank": 1.0, "values": list(values)}
    return {"rate": 0.5, "trained": facts}


def test_adam_is_held_against_descent_seed_by_seed():
    parts = {
        "adam": [_trained(10.0, 6.0), _trained(40.0, 1.0)],
        "gd": [_trained(20.0, 2.0), _trained(50.0, 0.5)],
    }
    steps, errors = optimizers._comparisons(parts)
    assert (steps.measured, steps.inside) == ([0.5, 0.8], 2)
    assert (errors.measured, errors.inside) == ([3.0, 2.0], 2)


def test_the_row_of_an_optimiser_is_of_the_trained_seeds():
    lost = {"rate": 0.5, "trained": None}
    parts = [_trained(10.0, 4.0), lost, _trained(30.0, 1.0, (9.0, 4.0)), _trained(21.0, 2.0)]
    row = optimizers._row(optimizers.Settings(rank=1), "adam", parts, [_trained(1.0, 7.0), lost])
    expected = ("Adam", "0.5", "3 / 1", 21, 2.0, 1.0, 4.0, 1.0, 2.0, 7.0)
    assert tuple(row.values()) == expected
    whole = optimizers._row(optimizers.Settings(rank=2), "adam", parts, None)
    assert (whole["trained"], whole["next_s"], whole["flow"]) == ("3", 0.0, None)
