"""Settings of studies: frozen dataclasses, one per study, whose fields are what can be asked for.

On the command line a field is an option of the same name, in the singular where it holds several
values: `depths: tuple[int, ...]` is `--depth 2,3`, `cities: tuple[str, ...]` is `--city seattle`.
The fields' types say how a text is read.
"""

import types
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Union, get_args, get_origin, get_type_hints

Plain = str | int | float | bool | None


def changed(settings: Any, texts: Mapping[str, str | None], *, study: str) -> Any:
    """Settings with everything replaced that is given, that is, not None.

    Args:
        settings: A frozen dataclass.
        texts: What a user wrote, by the name of the option.
        study: The name of the study, for the refusal.

    Returns:
        Settings of the same class.

    Raises:
        ValueError: the study has no such setting, a text does not parse, or the settings refuse
            a value.
    """
    kinds = get_type_hints(type(settings))
    found = {}
    for option, text in texts.items():
        if text is None:
            continue
        field = next((name for name in (option, plural(option)) if name in kinds), None)
        if field is None:
            raise ValueError(
                f"Argument `{option}` must be left out for {study}, whose settings are "
                f"{', '.join(kinds)}, but it is {text!r}."
            )
        found[field] = _read(option, text, kinds[field])
    return replace(settings, **found)


def plural(option: str) -> str:
    """The field of several values that an option stands for."""
    return option[:-1] + "ies" if option.endswith("y") else f"{option}s"


def check_names(settings: Any, name: str, choices: Iterable[str]) -> None:
    """Refuse a field that holds no name, a name twice, or one that is not among the choices.

    Raises:
        ValueError: as said above; it names the field.
    """
    value, choices = getattr(settings, name), tuple(choices)
    if not value or set(value) - set(choices) or len(set(value)) < len(value):
        raise ValueError(
            f"Argument `{name}` must hold names of {', '.join(choices)}, each once, but it is "
            f"{value}."
        )


def check_numbers(settings: Any, *names: str, least: int | float | None = None) -> None:
    """Refuse fields that hold no number, a number twice, or one that is too small.

    Args:
        settings: A dataclass.
        names: Fields that hold a number, None, or a tuple of numbers.
        least: The least number allowed; None stands for any number above 0.

    Raises:
        ValueError: as said above; it names the field.
    """
    for name in names:
        value = getattr(settings, name)
        several = isinstance(value, tuple)
        values = value if several else () if value is None else (value,)
        too_small = [v for v in values if not (v > 0 if least is None else v >= least)]
        if too_small or (several and not values):
            bound = "above 0" if least is None else f"of at least {least:g}"
            if several:
                raise ValueError(f"Argument `{name}` must hold numbers {bound}, but it is {value}.")
            bound = bound.removeprefix("of ")
            raise ValueError(f"Argument `{name}` must be {bound}, but it is `{value}`.")
        if len(set(values)) < len(values):
            raise ValueError(f"Argument `{name}` must hold each number once, but it is {value}.")


def _read(option: str, text: str, kind: Any) -> Any:
    """A text as a value of a type: of int, float, str or bool, of a tuple, or of one or None."""
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(part for part in get_args(kind) if part is not type(None))
    several = get_origin(kind) is tuple
    one = get_args(kind)[0] if several else kind
    try:
        if several:
            return tuple(one(part) for part in text.split(","))
        return text == "True" if one is bool else one(text)
    except ValueError:
        word = {int: "integer", float: "number"}[one]
        article = "an" if word == "integer" else "a"
        must = f"be {word}s with commas between them" if several else f"be {article} {word}"
        raise ValueError(f"Argument `{option}` must {must}, but it is {text!r}.") from None
