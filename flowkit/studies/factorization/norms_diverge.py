"""A completion whose every norm grows without bound while its rank falls."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from flowkit.claim import Curves, Panels
from flowkit.claims.implicit_bias import (
    OBSERVED,
    diverging_flow,
    unbounded_entry,
    unbounded_size,
)
from flowkit.observables import (
    LossOf,
    effective_rank,
    log_abs_det,
    nuclear_norm,
)
from flowkit.studies.catalogue import Reproducible
from flowkit.studies.comparison import Comparison
from flowkit.studies.factorization.recovery import WANTED
from flowkit.studies.settings import check_numbers
from flowkit.studies.study import Study
from flowkit.studies.work import Work

VERSION = 1
SOURCE = "2005.06398, Theorem 1"
LOSSES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)  # half sums at which the entry is read

Series = dict[str, list[float]]


@dataclass(frozen=True)
class Settings:
    """How large the study is.

    Attributes:
        depths: Numbers of factors.
        scales: Scales of the start, a multiple of the identity.
    """

    depths: tuple[int, ...] = (2, 3)
    scales: tuple[float, ...] = (1e-3,)

    def __post_init__(self):
        check_numbers(self, "depths", least=2)
        check_numbers(self, "scales")


def norms_diverge(settings: Settings, work: Work) -> Study:
    """Follow the flow on [[*, 1], [1, 0]] from a start of positive determinant.

    Args:
        settings: Depths and scales.
        work: Where parts are kept.

    Returns:
        A row per depth, scale and loss.

    Source:
        Razin and Cohen 2020, arXiv:2005.06398, Theorem 1.
    """
    cases = [
        {"depth": depth, "scale": scale, "least": LOSSES[-1]}
        for depth in settings.depths
        for scale in settings.scales
    ]
    series = work.parts("flow", _follow, cases, version=VERSION)
    names = [_name(case, settings) for case in cases]
    found = dict(zip(names, series, strict=True))
    rows = tuple(_row(name, one, loss) for name, one in found.items() for loss in LOSSES)
    return Study(
        name="norms-diverge",
        title="Completing [[*, 1], [1, 0]]: the unobserved entry as the loss falls",
        settings=settings,
        rows=rows,
        chart=_chart(found),
        notes=(
            "The loss is half the sum of squares over the three observed entries.",
            "Values at a loss lie between recorded ones, on lines of logarithms.",
        ),
        comparisons=tuple(_comparisons(found)),
    )


def lower_bound(loss: float) -> float:
    """The theorem's bound on the unobserved entry, (1 - sqrt(2 l))^2 / sqrt(2 l)."""
    root = np.sqrt(2 * loss)
    return float((1 - root) ** 2 / root)


def _follow(depth: int, scale: float, least: float) -> Series:
    """Series along the flow, from where the singular values have parted to the least loss."""
    observables = {
        "loss": LossOf(unbounded_entry()),
        "entry": unbounded_size,
        "log_det": log_abs_det,
        "nuclear_norm": nuclear_norm,
        "effective_rank": effective_rank,
    }
    trajectory = diverging_flow(depth, scale, least, observables)
    whole = lambda name, of: [
        *map(float, trajectory.observables[name]),
        float(of(trajectory.final)),
    ]
    series = {name: whole(name, of) for name, of in observables.items()}
    series["loss"] = [OBSERVED * loss / 2 for loss in series["loss"]]
    return series


def _name(case: Mapping[str, Any], settings: Settings) -> str:
    name = f"depth {case['depth']}"
    return name if len(settings.scales) == 1 else f"{name}, scale {case['scale']:g}"


def _at(series: Series, name: str, loss: float) -> float:
    """A recorded quantity where the loss has a value."""
    order = np.argsort(series["loss"])
    logs = np.log(np.asarray(series["loss"]))[order]
    return float(np.interp(np.log(loss), logs, np.asarray(series[name])[order]))


def _entry_at(series: Series, loss: float) -> float:
    logs = {**series, "entry": list(np.log(series["entry"]))}
    return float(np.exp(_at(logs, "entry", loss)))


def _row(name: str, series: Series, loss: float) -> dict[str, Any]:
    return {
        "flow": name,
        "loss": f"{loss:g}",
        "entry": _entry_at(series, loss),
        "bound": lower_bound(loss),
        "nuclear_norm": _at(series, "nuclear_norm", loss),
        "log_|det|": _at(series, "log_det", loss),
        "effective_rank": _at(series, "effective_rank", loss),
    }


def _comparisons(found: Mapping[str, Series]) -> list[Comparison]:
    rows = []
    for name, series in found.items():
        rows += [
            Comparison(
                f"{name}: entry at loss {loss:g}",
                [_entry_at(series, loss)],
                (lower_bound(loss), None),
                SOURCE,
            )
            for loss in LOSSES
        ]
        first, last = (_at(series, "effective_rank", loss) for loss in (LOSSES[0], LOSSES[-1]))
        quantity = f"{name}: effective rank at loss {LOSSES[-1]:g} / at {LOSSES[0]:g}"
        rows.append(Comparison(quantity, [last / first], (None, 1.0), WANTED))
    return rows


def _chart(found: Mapping[str, Series]) -> Panels:
    bound = np.geomspace(LOSSES[0], LOSSES[-1], 60)
    reference: Float[np.ndarray, " losses"] = np.array([lower_bound(loss) for loss in bound])
    panel = lambda title, label, lines, *, log_y: Curves(
        title=title,
        x_label="half the sum of squares",
        y_label=label,
        lines=lines,
        references=("lower bound of the theorem",),
        log_x=True,
        log_y=log_y,
        reverse_x=True,
    )
    of = lambda name, sign=1.0: {
        flow: (series["loss"], sign * np.asarray(series[name])) for flow, series in found.items()
    }
    entries = of("entry") | {"lower bound of the theorem": (bound, reference)}
    return Panels(
        title="Completing [[*, 1], [1, 0]] from a start of positive determinant",
        panels=(
            panel("unobserved entry", "|w_11|", entries, log_y=True),
            panel("nuclear norm", "nuclear norm", of("nuclear_norm"), log_y=True),
            panel("determinant", "-log |det W|", of("log_det", -1.0), log_y=True),
            panel("effective rank", "effective rank", of("effective_rank"), log_y=False),
        ),
        columns=2,
        caption="The loss falls to the right. Grey: the theorem's lower bound of the entry.",
    )


STUDY = Reproducible(
    run=norms_diverge,
    settings=Settings(),
    quick=Settings(depths=(2,)),
)
