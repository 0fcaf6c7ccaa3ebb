"""Written dates: one meaning each, in every locale's forms, the same in every run."""

from __future__ import annotations

import datetime
import re

import pytest

from kerass2s import dates
from kerass2s.data import Pair
from kerass2s.errors import ConfigError


@pytest.fixture(scope="module")
def made() -> list[Pair]:
    """Three thousand pairs."""
    return dates.pairs(3000)


def test_texts_stand_for_the_day_that_they_say(made: list[Pair]):
    assert len({pair.source for pair in made}) == len(made) == 3000
    years = {datetime.date.fromisoformat(pair.target).year for pair in made}
    assert dates.YEARS[0] <= min(years) < 1910 and 2090 < max(years) <= dates.YEARS[1]
    german = dates.Form("de", "EEEE, d. MMMM y")
    assert german.write(datetime.date(2001, 3, 7)) == "Mittwoch, 7. März 2001"
    for pair in made[:500]:
        date = datetime.date.fromisoformat(pair.target)
        assert any(form.write(date) == pair.source for forms in dates._forms().values() for form in forms)


def test_no_text_could_mean_another_day(made: list[Pair]):
    numbers = [found for pair in made if (found := re.fullmatch(r"(\d+)/(\d+)/\d{4}", pair.source))]
    assert numbers, "the sample has no such text"
    for first, second in (map(int, found.groups()) for found in numbers):
        assert first == second or max(first, second) > 12, "3/4/2001 is in March or in April"
    assert all(str(int(pair.target[:4])) in pair.source for pair in made), "a year of two digits is in any century"


def test_they_are_the_same_in_every_run_and_others_for_another_seed(made: list[Pair]):
    assert dates.pairs(50) == made[:50]
    assert dates.pairs(50, seed=1) != made[:50]


def test_every_locale_has_several_forms_and_every_form_is_used():
    forms = dates._forms()
    assert len(forms) == len(dates.LOCALES) >= 30
    assert min(map(len, forms.values())) >= 3
    day = datetime.date(2001, 12, 31)
    assert all(dates._names_one_day(form, day) for of_one in forms.values() for form in of_one)


def test_a_count_below_zero_is_refused():
    with pytest.raises(ConfigError, match=r"count must be at least 0\. Received: -1"):
        dates.pairs(-1)
    assert dates.pairs(0) == []
