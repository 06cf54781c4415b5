"""Work and precision of solvers on completion: error against wall time and field evaluations.

    python tests/benchmarks/flow.py --out FOLDER                  # n = 100 and 500, about two hours
    python tests/benchmarks/flow.py --out FOLDER --sizes 100 --depths 3 --budget 60

The folder holds `measurements.jsonl`, to which every solve adds a line, so that a run that was
stopped goes on where it was; `flow.md`, a table of what an error of 1e-3 costs, at the end and
along the path; and one figure for every size and end. Compilation is timed apart. A solve that
would take longer than the budget is not made, and the table says so.
"""

import argparse
from pathlib import Path

import jax
from rich.console import Console

PLATFORMS = ("cpu", "gpu")


def main() -> None:
    """Measure what is missing, then write the table and the figures."""
    options = _options()
    jax.config.update("jax_enable_x64", val=True)
    jax.config.update("jax_platforms", {"cpu": "cpu", "gpu": "cuda"}[options.device])
    from cases import completion, ends_of  # after the settings, as these make arrays
    from contenders import contenders
    from measuring import Ledger, measure
    from pages import write_pages
    from reaching import reach

    console = Console()
    options.out.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(options.out / "measurements.jsonl")
    console.print(f"Device: {jax.devices()[0].device_kind}")
    console.print(reach(), highlight=False)
    for size in options.sizes:
        for depth in options.depths:
            case = completion(size, depth)
            for end in ends_of(case, options.ends, options.out):
                for contender in contenders(tiny=size <= 10, quick=options.quick):
                    for row in measure(case, end, contender, ledger, options.budget):
                        console.print(str(row), highlight=False)
                write_pages(options.out, ledger)
    console.print((options.out / "flow.md").read_text("utf-8"), highlight=False)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    numbers = lambda text: [int(part) for part in text.split(",")]
    names = lambda text: text.split(",")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--sizes", type=numbers, default=[100, 500], help="of the matrix: 10 too")
    parser.add_argument("--depths", type=numbers, default=[2, 3, 4])
    parser.add_argument("--ends", type=names, default=["learning", "transient", "tail"])
    parser.add_argument("--budget", type=float, default=300.0, help="seconds of the longest solve")
    parser.add_argument("--quick", action="store_true", help="fewer settings")
    parser.add_argument("--device", choices=PLATFORMS, default="cpu")
    return parser.parse_args()


if __name__ == "__main__":
    main()
