"""What the commands share: progress, refusals that name an option, and the exit status."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from typer.models import ArgumentInfo, OptionInfo

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from flowkit.report import Report

INTERRUPTED = 130  # the shell's status for a program ended by Ctrl-C

# Arguments that are places -> options: of the readers of images, and of Gram matrices.
PLACES = {"folder": "--data", "store": "--out"}

Options = Mapping[str, str]  # names of Python arguments -> as they are written on the command line


def options_of(command: Callable[..., None]) -> dict[str, str]:
    """The options and arguments of a command, by the names of its Python arguments."""
    return {
        name: _option(name, getattr(parameter.annotation, "__metadata__", ()))
        for name, parameter in inspect.signature(command).parameters.items()
    }


def _option(name: str, described: tuple[object, ...]) -> str:
    default = "--" + name.replace("_", "-")
    for info in described:
        if isinstance(info, ArgumentInfo):
            return name.upper()
        if isinstance(info, OptionInfo):
            # Inside `Annotated` the first name that is declared stands where a default would.
            declared = (info.default, *(info.param_decls or ()))
            return next((text for text in declared if isinstance(text, str)), default)
    return default


@contextmanager
def refusing(options: Options) -> Iterator[None]:
    """What is refused is a usage error; that of an argument among `options` names its option."""
    try:
        yield
    except ValueError as error:
        sentence = re.fullmatch(r"Argument `(\w+)` (.+)", str(error), re.DOTALL)
        if sentence is None or sentence[1] not in options:
            raise typer.BadParameter(str(error)) from error
        raise typer.BadParameter(sentence[2], param_hint=[options[sentence[1]]]) from error


@contextmanager
def reporting(options: Options) -> Iterator["Bar"]:
    """A progress bar in double precision; what is refused is a usage error."""
    from rich.progress import BarColumn, Progress as Bar, TextColumn, TimeRemainingColumn

    in_double_precision()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    try:
        with (
            refusing(options),
            Bar(*columns, console=Console(stderr=True), transient=True) as bar,
        ):
            yield bar
    except KeyboardInterrupt as interrupt:
        typer.echo("Interrupted; the same command goes on from here.", err=True)
        raise typer.Exit(INTERRUPTED) from interrupt


def in_double_precision() -> None:
    """Turn on float64, which the library never does by itself."""
    import jax

    jax.config.update("jax_enable_x64", val=True)


def status(report: "Report") -> int:
    """The exit status of a command that checked claims."""
    if report.remaining:
        return INTERRUPTED
    return 0 if report.passed else 1
