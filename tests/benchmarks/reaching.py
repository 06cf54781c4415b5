"""What the default policy needs to reach a train loss."""

import time
from dataclasses import dataclass

from cases import completion

import flowkit as fk


@dataclass(frozen=True)
class Goal:
    """A train loss to reach from a start of some scale, at depth 3 and n = 100."""

    scale: float
    loss: float
    rtol: float
    most_steps: int


GOALS = (Goal(1e-3, 1e-6, 1e-6, 300), Goal(1e-3, 1e-8, 1e-6, 450), Goal(1e-9, 1e-4, 1e-4, 3000))


def reach() -> str:
    """A Markdown table, one row for each goal."""
    rows = [
        "| scale | rtol | train loss | accepted steps | at most | evaluations | seconds | phases |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(goal) for goal in GOALS),
    ]
    return "\n".join(rows)


def _row(goal: Goal) -> str:
    case = completion(100, 3, scale=goal.scale)
    solve = lambda: fk.integrate(
        case.flow, case.y0, [0.0, 1e12], until=fk.until.train_loss(goal.loss), rtol=goal.rtol
    )
    solve()  # compiles
    began = time.perf_counter()
    trajectory = solve()
    wall, stats = time.perf_counter() - began, trajectory.stats
    phases = ", ".join(f"{p['num_accepted_steps']} {p['solver']}" for p in stats["phases"])
    reached = f"{goal.loss:g}" if trajectory.result.successful else trajectory.result.reason
    return (
        f"| {goal.scale:g} | {goal.rtol:g} | {reached} | {stats['num_accepted_steps']} | "
        f"{goal.most_steps} | {stats['num_evaluations']} | {wall:.2f} | {phases} |"
    )
