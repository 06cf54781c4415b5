"""What studies of factorization compare with: made-up parts inside the ranges, and outside."""

import numpy as np
import pytest

from flowkit.studies.factorization import (
    by_scale,
    depth_vs_nuclear,
    incremental,
    norms_diverge,
    optimizers,
    sensing,
    singular_values,
)
from flowkit.studies.factorization.by_scale import Found, Settings
from flowkit.studies.factorization.recovery import SOURCE, WANTED

SCALES = (1e-2, 1e-3, 1e-4)  # the first is larger than any that was published


def _part(error, norm=219.4, rank=4.95):
    true = {"true_nuclear_norm": 219.5, "true_effective_rank": 4.95}
    return {"error": error, "nuclear_norm": norm, "effective_rank": rank, **true}


def _found(flows, least):
    """Parts of one seed; of the largest scale, which must not be compared, an error of 9."""
    counts = tuple(least)
    settings = Settings(depths=(2, 3, 4), scales=SCALES, observed=counts, seeds=1)
    wild = {(count, depth, SCALES[0]): [_part(9.0)] for count in counts for depth in (2, 3, 4)}
    return Found(
        settings,
        wild | {key: [part] for key, part in flows.items()},
        {count: [part | {"relative_gap": 1e-7}] for count, part in least.items()},
    )


def _of(comparisons):
    return {each.quantity: (each.within, each.source) for each in comparisons}


@pytest.fixture
def completion():
    """Of the sizes that the paper reports."""
    flows = {}
    for scale, shallow in ((1e-3, 0.1), (1e-4, 0.03)):
        flows[2000, 2, scale] = _part(shallow, 217.0, 8.0)
        flows[5000, 2, scale] = _part(8e-5)
        for depth in (3, 4):
            flows[2000, depth, scale] = _part(3e-5)
            flows[5000, depth, scale] = _part(1e-5)
    return flows, {2000: _part(0.106, 210.2, 9.45), 5000: _part(7e-7, 221.0)}


def test_completion_as_published_is_within(completion):
    rows = _of(depth_vs_nuclear._comparisons(_found(*completion)))
    assert len(rows) == 14
    assert all(within for within, _ in rows.values())
    assert rows["2000 observed, depth 2: error"][1] == SOURCE
    assert rows["2000 observed, nuclear: norm"][1] == WANTED
    assert rows["5000 observed, depth 3: error"][1] == WANTED


def test_completion_with_depths_and_counts_swapped_is_not(completion):
    flows, least = completion
    deep = {key: flows[key[0], 5 - key[1], key[2]] for key in flows if key[1] < 4}
    rows = _of(depth_vs_nuclear._comparisons(_found(flows | deep, least)))
    assert not rows["2000 observed, depth 2: error"][0]
    assert not rows["2000 observed, depth 3, 0.001: error"][0]
    swapped = {2000: least[5000], 5000: least[2000]}
    rows = _of(depth_vs_nuclear._comparisons(_found(flows, swapped)))
    assert not rows["2000 observed, nuclear: norm"][0]
    assert not rows["5000 observed, nuclear: error"][0]


@pytest.mark.parametrize(("shallow", "deep", "within"), [(5e-3, 8e-6, True), (8e-6, 5e-3, False)])
def test_sensing(shallow, deep, within):
    errors = {2: shallow, 3: deep, 4: deep}
    flows = {(2000, d, s): _part(errors[d]) for d in errors for s in SCALES[1:]}
    rows = _of(sensing._comparisons(_found(flows, {2000: _part(7e-4)})))
    assert rows["nuclear: error"] == (True, SOURCE)
    assert rows["nuclear: relative gap"] == (True, WANTED)
    assert [rows[f"depth {depth}: error"][0] for depth in (2, 3, 4)] == [within] * 3


def test_flows_that_end_at_another_matrix_are_named():
    recovers, strays = _part(1e-5), _part(14.7, 661.0)
    flows = {(2000, 4, 1e-5): [recovers, recovers, strays], (2000, 3, 1e-5): [recovers] * 3}
    settings = Settings(depths=(3, 4), scales=(1e-5,), observed=(2000,), seeds=3)
    (note,) = by_scale._strays(Found(settings, flows, {}))
    assert note.endswith("zero: depth 4 from 1e-05, 2000 observed, seed 2.")
    flows[2000, 4, 1e-5][2] = recovers
    assert not by_scale._strays(Found(settings, flows, {}))


def test_singular_values():
    right = {1: 0.82, 2: 0.08, 3: 1e-3}
    for errors in (right, {1: 0.08, 2: 1e-3, 3: 0.82}):
        found = {(depth, 1e-3): [{"descent_error": error}] for depth, error in errors.items()}
        rows = singular_values._comparisons(singular_values.Settings(), found)
        assert [row.within for row in rows] == [errors is right] * 3
        assert [row.source for row in rows] == [WANTED, SOURCE, SOURCE]


@pytest.mark.parametrize(("factor", "within"), [(1.1, True), (0.9, False)])
def test_the_entry_lies_above_its_bound_and_the_rank_falls(factor, within):
    losses = list(norms_diverge.LOSSES)
    ranks = list(np.linspace(1.8, 1.1, len(losses)))
    series = {
        "loss": losses,
        "entry": [factor * norms_diverge.lower_bound(loss) for loss in losses],
        "effective_rank": ranks if within else ranks[::-1],
    }
    rows = norms_diverge._comparisons({"depth 2": series})
    assert [row.within for row in rows] == [within] * (len(losses) + 1)


@pytest.mark.parametrize("in_order", [True, False])
def test_modes_one_after_another(in_order):
    times = np.linspace(0.0, 10.0, 101)
    starts = np.arange(1, 5) if in_order else np.arange(4, 0, -1)
    modes = [
        mode * np.clip(times - start, 0, 1)
        for mode, start in zip(incremental.MODES, starts, strict=True)
    ]
    part = {"times": times, "modes": modes}
    power = 3 if in_order else 1
    critical = {3: {"scales": (incremental.GAPS**power).tolist(), "weak_share": 0.1}}
    half, slope, share = incremental._comparisons([({"depth": 2, "start": 1e-3}, part)], critical)
    assert (half.within, slope.within, share.within) == (in_order, in_order, True)


def test_starts_at_which_a_mode_counts_as_learnt_are_refused():
    with pytest.raises(ValueError, match=r"`scales` must hold numbers below 0\.1"):
        incremental.Settings(scales=(0.1,))


def test_pairs_of_which_one_was_not_trained_are_counted():
    trained = {"trained": {"steps": 10.0, "error": 1.0}}
    parts = {"adam": [trained, trained], "gd": [trained, {"trained": None}]}
    rows = optimizers._comparisons(parts)
    assert all("1 of 2 seeds" in row.quantity for row in rows)
