"""The table and the figures of a benchmark."""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from measuring import Ledger, Measurement

MATCHED = 1e-3  # end-point error at which costs are compared
REFERENCE, DESCENT = "default policy", "descent"
ERRORS = {"error": "end", "largest_error": "path"}
INTRODUCTION = (
    f"Wall seconds and evaluations at an error of {MATCHED:g}, interpolated between settings; `~` "
    f"extrapolates descent at its order, one. Compilation is apart. The error of a path is the "
    f"largest over all saves. That of its end says little where training has converged: errors in "
    f"time are forgotten there, and descent at its largest stable rate arrives as well."
)
COLOURS = {
    REFERENCE: "#D55E00",
    "Tsit5": "#0072B2",
    "Dopri8": "#56B4E9",
    "RKC2": "#E69F00",
    "RKL2": "#F0E442",
    "RKC4": "#CC79A7",
    "Kvaerno5": "#882255",
    "RK45": "#999999",
    "DOP853": "#666666",
    "LSODA": "#333333",
    DESCENT: "#009E73",
}


def write_pages(folder: Path, ledger: Ledger) -> None:
    """Write `flow.md` and the figures of all that was measured."""
    lines = [
        INTRODUCTION,
        "",
        "| n | depth | to | error of | method | seconds | times ours | evaluations | compilation |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    by_case = lambda row: (row.size, row.depth, row.end)
    for _, group in groupby(sorted(ledger.rows, key=by_case), key=by_case):
        rows = list(group)
        for kind in ERRORS:
            lines += _lines(rows, kind)
    (folder / "flow.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    by_figure = lambda row: (row.size, row.end)
    for (size, end), rows in groupby(sorted(ledger.rows, key=by_figure), key=by_figure):
        _figure(list(rows)).savefig(folder / f"flow_n{size}_{end}.png", dpi=130)


def _by_contender(rows: Iterable[Measurement]) -> dict[str, list[Measurement]]:
    found: dict[str, list[Measurement]] = {}
    for row in rows:
        found.setdefault(row.contender, []).append(row)
    return found


def _lines(rows: list[Measurement], kind: str) -> list[str]:
    contenders = _by_contender(rows)
    ours = cost_at(contenders.get(REFERENCE, []), "wall", kind)
    lines = []
    for name, own in contenders.items():
        wall, evaluations = (cost_at(own, cost, kind) for cost in ("wall", "evaluations"))
        mark = "~" if name == DESCENT and _is_extrapolated(own, kind) else ""
        compilation = max((row.compilation or 0.0 for row in own), default=0.0)
        if wall is None:
            cells = [_why_not(own), "", "", ""]
        else:
            ratio = "" if ours is None else f"{wall / ours:.1f}"
            known = "" if evaluations is None else f"{mark}{evaluations:,.0f}"
            cells = [f"{mark}{wall:.3g}", f"{mark}{ratio}", known, f"{compilation:.1f}"]
        head = [str(own[0].size), str(own[0].depth), own[0].end, ERRORS[kind], name]
        lines.append(f"| {' | '.join(head + cells)} |")
    return lines


def _why_not(rows: list[Measurement]) -> str:
    failures = [row.failure for row in rows if row.failure]
    return failures[0] if failures else f"no error below {MATCHED:g}"


def _is_extrapolated(rows: list[Measurement], kind: str) -> bool:
    errors = [getattr(row, kind) for row in rows if row.error is not None]
    return bool(errors) and min(errors) > MATCHED


def cost_at(rows: list[Measurement], cost: str, kind: str, error: float = MATCHED) -> float | None:
    """The cost at an error, on straight lines between measurements in logarithms.

    Of a setting that is dearer than another one with a smaller error, nothing is made. Descent is
    extrapolated at order one to smaller errors; at larger ones it is unstable, so that it costs
    what its cheapest setting does, as do others that stay below the error.
    """
    found = [(getattr(row, kind), getattr(row, cost)) for row in rows if row.error is not None]
    pairs = [(e, c) for e, c in found if c and not any(f < e and d <= c for f, d in found if d)]
    if not pairs:
        return None
    errors, costs = np.array(sorted(pairs, reverse=True)).T
    if errors[-1] > error:
        is_descent = rows[0].contender == DESCENT
        return float(costs[-1] * errors[-1] / error) if is_descent else None
    return float(np.exp(np.interp(-np.log(error), -np.log(errors), np.log(costs))))


def _figure(rows: list[Measurement]) -> Figure:
    depths = sorted({row.depth for row in rows})
    figure = Figure(figsize=(10.0, 3.2 * len(depths) + 0.6), layout="constrained")
    panels = figure.subplots(len(depths), 2, squeeze=False, sharey=True)
    for pair, depth in zip(panels, depths, strict=True):
        contenders = _by_contender(row for row in rows if row.depth == depth)
        for axes, cost in zip(pair, ("wall", "evaluations"), strict=True):
            for name, own in contenders.items():
                done = [row for row in own if row.largest_error and getattr(row, cost)]
                points = [(getattr(row, cost), row.largest_error) for row in done]
                if points:
                    axes.loglog(*zip(*points, strict=True), ".-", color=COLOURS[name], label=name)
            axes.grid(visible=True, color="#dddddd", linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
        pair[0].set_ylabel(f"depth {depth}: error of the path")
    panels[-1, 0].set_xlabel("wall seconds, without compilation")
    panels[-1, 1].set_xlabel("evaluations of the field")
    handles = {line.get_label(): line for axes in panels.flat for line in axes.lines}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=6, frameon=False)
    figure.suptitle(f"Completion, n = {rows[0].size}, {rows[0].end}", x=0.01, ha="left")
    return figure
