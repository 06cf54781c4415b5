"""Options become settings by their types; what a study lacks is refused by name."""

from dataclasses import dataclass

import pytest

from flowkit.studies.settings import changed, check_numbers


@dataclass(frozen=True)
class Settings:
    depths: tuple[int, ...] = (2, 3)
    scales: tuple[float, ...] = (1e-3,)
    seeds: int = 5
    test: int | None = None
    float32: bool = False

    def __post_init__(self):
        check_numbers(self, "depths", "seeds", "test", least=1)
        check_numbers(self, "scales")


def test_texts_are_read_by_the_types_of_the_fields():
    texts = {"depth": "4", "scale": "1e-3,0.5", "seeds": "2", "test": "7", "float32": "True"}
    assert changed(Settings(), texts, study="s") == Settings((4,), (1e-3, 0.5), 2, 7, True)
    assert changed(Settings(), dict.fromkeys(texts), study="s") == Settings()


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"rank": "5"}, "`rank` must be left out for s, whose settings are depths, scales, seeds"),
        ({"depth": "2,x"}, "`depth` must be integers with commas between them, but it is '2,x'"),
        ({"depth": "2.5"}, "`depth` must be integers with commas"),
        ({"seeds": "many"}, "`seeds` must be an integer, but it is 'many'"),
        ({"scale": "tiny"}, "`scale` must be numbers with commas"),
        ({"depth": "0"}, "`depths` must hold numbers of at least 1, but it is \\(0,\\)"),
        ({"depth": "3,3"}, "`depths` must hold each number once"),
        ({"scale": "0.1,0"}, "`scales` must hold numbers above 0, but it is \\(0.1, 0.0\\)"),
        ({"scale": "nan"}, "`scales` must hold numbers above 0"),
        ({"seeds": "0"}, "`seeds` must be at least 1, but it is `0`"),
        ({"test": "0"}, "`test` must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused(texts, message):
    with pytest.raises(ValueError, match=message):
        changed(Settings(), texts, study="s")


def test_at_least_one_number_is_needed():
    with pytest.raises(ValueError, match="`depths` must hold numbers of at least 1"):
        Settings(depths=())
