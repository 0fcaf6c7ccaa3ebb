"""Dates as people of many countries write them, and as ISO 8601: pairs made from the patterns of Unicode's CLDR.

The patterns are those of the PyPI package `babel`: a locale's full, long, medium and short form, and what it has for a
month's name, a short one or a number, with and without the day of the week. Years are from 1900 to 2099, and written
in full: a pattern with two digits of them is left out. A text that means another day in another of the locales is left
out as well, as 03/04/2020 is, whether people there write the zeros or not. All locales stand together, and nothing
tells which one a text is from.
"""

from __future__ import annotations

import calendar
import datetime
import functools
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from kerass2s.data import Pair, split_pairs
from kerass2s.errors import ConfigError, DataError

__all__ = ["LOCALES", "YEARS", "load_split", "pairs"]

LOCALES = (
    *("af", "ar", "bg", "ca", "cs", "da", "de", "el", "en_GB", "en_US", "es", "et", "eu", "fa", "fi", "fr", "ga", "gl"),
    *("he", "hi", "hr", "hu", "id", "is", "it", "ja", "ko", "lt", "lv", "mk", "ms", "nb", "nl", "pl", "pt", "ro", "ru"),
    *("sk", "sl", "sq", "sr", "sv", "sw", "th", "tr", "uk", "vi", "zh"),
)
YEARS = (1900, 2099)
FORMS = ("full", "long", "medium", "short")
SKELETONS = ("yMMMd", "yMMMMd", "yMMMEd", "yMd", "yMEd", "yMMMMEEEEd")
COUNT = 200_000

_QUOTED = re.compile(r"'[^']*'")
_LEAP_YEAR = 2000


class Form(NamedTuple):
    """A pattern of a locale."""

    locale: str
    pattern: str

    def write(self, date: datetime.date) -> str:
        """Returns a date in this form."""
        return _babel().dates.format_date(date, self.pattern, locale=self.locale)


def pairs(count: int = COUNT, seed: int = 0) -> list[Pair]:
    """Returns `count` pairs of a written date and the same in ISO 8601, no text twice; the same for the same seed.

    `Pair("7. März 2001", "2001-03-07")` is one. Days, locales and a locale's patterns are equally likely each.

    Raises:
        ConfigError: `count` is below 0.
        DataError: the package `babel` is not installed.
    """
    if count < 0:
        raise ConfigError(f"count must be at least 0. Received: {count!r}")
    draws = random.Random(f"dates {seed}")
    first, last = datetime.date(YEARS[0], 1, 1).toordinal(), datetime.date(YEARS[1], 12, 31).toordinal()
    found: dict[str, str] = {}
    while len(found) < count:
        date = datetime.date.fromordinal(draws.randint(first, last))
        form = draws.choice(_forms()[draws.choice(LOCALES)])
        if _names_one_day(form, date):
            found[form.write(date)] = date.isoformat()
    return [Pair(text, iso) for text, iso in found.items()]


def load_split() -> dict[str, list[Pair]]:
    """Returns `train`, `dev` and `test`, split by text: its SHA-256 decides (90, 5 and 5 percent).

    A day may stand in two parts, in two forms.
    """
    return split_pairs(pairs())


# === Patterns ===


@functools.cache
def _forms() -> dict[str, list[Form]]:
    """The different forms of each locale."""
    return {locale: [Form(locale, pattern) for pattern in _patterns(locale)] for locale in LOCALES}


def _patterns(locale: str) -> list[str]:
    known = _babel().Locale.parse(locale)
    given = [known.date_formats[name].pattern for name in FORMS]
    skeletons = [known.datetime_skeletons[name].pattern for name in SKELETONS if name in known.datetime_skeletons]
    return [pattern for pattern in dict.fromkeys([*given, *skeletons]) if not _short_year(pattern)]


def _short_year(pattern: str) -> bool:
    return re.search(r"(?<!y)yy(?!y)", _QUOTED.sub("", pattern)) is not None


def _without_weekday(form: Form) -> Form:
    """The form less the day of the week, which says nothing that the date does not."""
    return Form(form.locale, re.sub(r"[Ec]+", "", form.pattern))


def _names_one_day(form: Form, date: datetime.date) -> bool:
    """Tells whether no locale would understand the text otherwise; the year is plain, so any leap year shows it."""
    return len(_readings()[_as_read(_without_weekday(form).write(date.replace(year=_LEAP_YEAR)))]) == 1


def _as_read(text: str) -> str:
    """The text less what a reader does not go by: zeros before a number, and marks of direction."""
    return re.sub(r"\b0+(?=\d)", "", text.replace("\u200f", ""))


@functools.cache
def _readings() -> dict[str, set[tuple[int, int]]]:
    """Each text of one year without days of the week, and the days, (month, day), that it stands for."""
    forms = dict.fromkeys(_without_weekday(form) for forms in _forms().values() for form in forms)
    found: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for date in _days(_LEAP_YEAR):
        for form in forms:
            found[_as_read(form.write(date))].add((date.month, date.day))
    return found


def _days(year: int) -> Iterator[datetime.date]:
    first = datetime.date(year, 1, 1)
    return (first + datetime.timedelta(number) for number in range(365 + calendar.isleap(year)))


def _babel() -> Any:
    try:
        import babel
        import babel.dates
    except ImportError as error:
        raise DataError("Written dates need `pip install babel`. Received: no package `babel`") from error
    return babel
