"""The command line: one module per command, what they share in `terminal` and `texts`."""

import typer

from flowkit.cli.claims import verify
from flowkit.cli.derivations import derive
from flowkit.cli.kernels import kernel
from flowkit.cli.studies import HELP, reproduce

app = typer.Typer(
    help="Derive, integrate and verify gradient-flow dynamics.",
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def main() -> None:
    """Derive, integrate and verify gradient-flow dynamics of deep learning."""


for command in (verify, derive, kernel):
    app.command()(command)
app.command(help=HELP)(reproduce)
