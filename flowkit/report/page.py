"""The report as one HTML page that holds its figures and needs no network."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from string import Template
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowkit.report.summary import Entry, Report

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>flowkit: verified claims</title>
<style>
:root { color-scheme: light dark; --ink: #222; --soft: #666; --line: #ddd; --paper: #fff;
  --good: #00704f; --bad: #b00020; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --soft: #aaa; --line: #444;
  --paper: #181818; --good: #4cc9a0; --bad: #ff6b7d; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; }
h2 { font-size: 1.15rem; margin: 0; }
a { color: inherit; }
.soft, figcaption, footer { color: var(--soft); font-size: 0.9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; }
th, td { text-align: left; vertical-align: top; padding: 0.35rem 0.6rem;
  border-bottom: 1px solid var(--line); }
td.number { font-variant-numeric: tabular-nums; text-align: right; }
section { border-top: 2px solid var(--line); padding: 1rem 0; }
.good { color: var(--good); font-weight: 600; }
.bad { color: var(--bad); font-weight: 600; }
figure { margin: 1rem 0; }
img { max-width: 100%; height: auto; background: #fff; }
.formula { overflow: auto hidden; margin: 0.5rem 0; padding-bottom: 0.2rem; }
.formula math { text-align: left; }
</style>
</head>
<body>
<h1>flowkit: verified claims</h1>
<p class="soft">$summary</p>
<div class="scroll"><table>
<thead><tr><th>claim</th><th>source</th><th>measured</th><th>expected</th><th>verdict</th></tr></thead>
<tbody>$rows</tbody>
</table></div>
$sections
<footer>$versions</footer>
</body>
</html>
""")


def page(report: "Report", figures: Mapping[str, Sequence[bytes]]) -> str:
    """Render the report.

    Args:
        report: The report.
        figures: PNG images by claim name, in the order of the claim's charts.

    Returns:
        The text of the page.
    """
    from flowkit.report.summary import versions

    return _PAGE.substitute(
        summary=escape(report.summary()),
        rows="".join(_row(i, entry) for i, entry in enumerate(report.entries)),
        sections="".join(
            _section(i, entry, figures[entry.claim.name]) for i, entry in enumerate(report.entries)
        ),
        versions=escape(", ".join(f"{name} {number}" for name, number in versions().items())),
    )


def _verdict(entry: "Entry") -> str:
    verdict = entry.verdict
    if verdict.passed:
        return f'<span class="good">{verdict.kind}</span>'
    return '<span class="bad">failed</span>'


def _row(i: int, entry: "Entry") -> str:
    claim, verdict = entry.claim, entry.verdict
    link = f'<a href="#claim-{i}">{escape(claim.name)}</a>'
    cells = (
        link,
        *map(escape, (claim.source, verdict.measured, verdict.expected)),
        _verdict(entry),
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _section(i: int, entry: "Entry", images: Sequence[bytes]) -> str:
    claim, verdict = entry.claim, entry.verdict
    charts = zip(verdict.charts, images, strict=True)
    return f"""<section id="claim-{i}">
<h2>{escape(claim.name)}</h2>
<p>{escape(claim.statement)} <span class="soft">{escape(claim.source)}</span></p>
{"".join(f'<div class="formula">{formula}</div>' for formula in claim.formulas)}
<p>{_verdict(entry)}: {escape(verdict.measured)}. <span class="soft">Expected:
{escape(verdict.expected)}. {entry.seconds:.1f} s.</span></p>
{"".join(_figure(chart.title, chart.caption, image) for chart, image in charts)}
{_numbers(verdict.numbers)}
</section>
"""


def _figure(title: str, caption: str, image: bytes) -> str:
    data = base64.b64encode(image).decode("ascii")
    return (
        f'<figure><img alt="{escape(title)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>\n"
    )


def _numbers(numbers: Mapping[str, float]) -> str:
    if not numbers:
        return ""
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td class="number">{value:.6g}</td></tr>'
        for name, value in numbers.items()
    )
    return f"<details><summary>numbers</summary><table>{rows}</table></details>"
