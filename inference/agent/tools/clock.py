"""A tool for the time of day, here or elsewhere, and for days and dates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from functools import cache
from typing import Final, Literal
from zoneinfo import ZoneInfo, available_timezones

from microturn.inference.agent.backend import NoAnswer, Reply, Work
from microturn.inference.agent.numbers import number_words, ordinal_words
from microturn.inference.agent.tools.tool import Arguments, ToolRequest, text_argument, text_schema

Precision = Literal["hour", "minute"]
DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september"),
    *("october", "november", "december"),
)
_HERE: Final = "here"
_MAX_PLACE_WORDS: Final = 3
_OFFSETS: Final = {"yesterday": -1, "today": 0, "tomorrow": 1}


class Clock:
    """A tool for the time of day, to the hour or to the minute."""

    name = "clock"
    meaning = "Says the time of day, here or in a city."
    parameters = text_schema(place='a city such as Tokyo, or "here"')

    def __init__(self, now: Callable[[], datetime], precision: Precision) -> None:
        self._now, self._precision = now, precision

    def find(self, words: Sequence[str]) -> ToolRequest | None:
        for index in range(len(words) - 1, -1, -1):
            if words[index] == "time" and not _is_many(words, index):
                place, end = _place(words, index + 1)
                text = "time of day" if place == _HERE else f"time in {place}"
                arguments = {"place": place}
                return ToolRequest(tool=self.name, text=text, end=end, arguments=arguments)
        return None

    async def call(self, arguments: Arguments, work: Work) -> Reply:
        place = text_argument(arguments, "place").lower()
        now = self._now()
        if place != _HERE:
            zone = _zones().get(place)
            if zone is None:
                raise NoAnswer(f"no time zone is known for {place[:40]}")
            now = now.astimezone(ZoneInfo(zone))
        return Reply(text=clock_words(now, self._precision))


def _is_many(words: Sequence[str], index: int) -> bool:
    """Tell "how much time" and "one more time" from a question for the time."""
    return index > 0 and words[index - 1] in ("more", "much", "next", "last", "every", "this")


def _place(words: Sequence[str], start: int) -> tuple[str, int]:
    """Read "in CITY" within a few words after `start`; else here."""
    for at in range(start, min(start + 4, len(words))):
        if words[at] == "in":
            for n in range(_MAX_PLACE_WORDS, 0, -1):
                place = " ".join(words[at + 1 : at + 1 + n])
                if place in _zones():
                    return place, min(at + 1 + n, len(words))
            place = " ".join(words[at + 1 : at + 2])
            return (place, at + 2) if place else (_HERE, start)
    return _HERE, start


@cache
def _zones() -> dict[str, str]:
    """Time zones by the city in their name."""
    zones = sorted(zone for zone in available_timezones() if "/" in zone)
    return {zone.rpartition("/")[2].replace("_", " ").lower(): zone for zone in zones}


def clock_words(moment: datetime, precision: Precision) -> str:
    """Spell a time on a twelve-hour clock as it is read aloud; `hour` rounds to the nearest one."""
    hour, minute = moment.hour, moment.minute
    if precision == "hour":
        hour, minute = hour + (minute >= 30), 0
    hour_words = number_words(hour % 12 or 12)
    if minute == 0:
        return f"{hour_words} o'clock"
    return f"{hour_words} {'oh ' if minute < 10 else ''}{number_words(minute)}"


class Calendar:
    """A tool for days and dates, such as "what day is tomorrow" and "days until friday"."""

    name = "calendar"
    meaning = "Says day and date of a day, or how many days are left until it."
    parameters = text_schema(
        asked='"date" or "days until"',
        day="today, tomorrow, yesterday, a weekday, or a date such as december 24",
    )

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now

    def find(self, words: Sequence[str]) -> ToolRequest | None:
        for index in range(len(words) - 1, -1, -1):
            asked = {"until": "days until", "date": "date", "day": "date"}.get(words[index])
            if asked is None or not _is_asked(words, index):
                continue
            found = _day_in(words, index + 1)
            if found is None and asked == "days until":
                continue
            day, end = found or ("today", index + 1)
            arguments = {"asked": asked, "day": day}
            text = f"{asked} {day}"
            return ToolRequest(tool=self.name, text=text, end=end, arguments=arguments)
        return None

    async def call(self, arguments: Arguments, work: Work) -> Reply:
        today = self._now().date()
        day = _date_of(text_argument(arguments, "day").lower().split(), today)
        if text_argument(arguments, "asked") == "days until":
            n = (day - today).days
            return Reply(text=f"{number_words(n)} {'day' if n == 1 else 'days'}")
        name, month = DAYS[day.weekday()], MONTHS[day.month - 1]
        return Reply(text=f"{name} {month} {ordinal_words(day.day)}")


def _is_asked(words: Sequence[str], index: int) -> bool:
    """Tell "what day", "which date", "the date" and "days until" from other uses."""
    before = words[index - 1] if index else ""
    if words[index] == "until":
        return before in ("days", "day")
    return before in ("what", "which", "what's") or (words[index] == "date" and before == "the")


def _day_in(words: Sequence[str], start: int) -> tuple[str, int] | None:
    """Find a day within a few words after `start`."""
    for at in range(start, min(start + 4, len(words))):
        if words[at] in DAYS or words[at] in _OFFSETS:
            return words[at], at + 1
        if words[at] in MONTHS:
            for n in (2, 1):
                ordinal = " ".join(words[at + 1 : at + 1 + n])
                if ordinal.isdigit() or ordinal in _day_names():
                    return f"{words[at]} {ordinal}", at + 1 + n
    return None


@cache
def _day_names() -> dict[str, int]:
    """Days of a month by their names: "fifth" and "five"."""
    names = {ordinal_words(n): n for n in range(1, 32)}
    return names | {number_words(n): n for n in range(1, 32)}


def _date_of(words: Sequence[str], today: date) -> date:
    """Return the next day of a name; raises NoAnswer for what is none."""
    match words:
        case [word] if word in _OFFSETS:
            return today + timedelta(days=_OFFSETS[word])
        case [word] if word in DAYS:
            ahead = (DAYS.index(word) - today.weekday() - 1) % 7 + 1
            return today + timedelta(days=ahead)
        case [month, *rest] if month in MONTHS and rest:
            name = " ".join(rest)
            day = int(name) if name.isdigit() else _day_names().get(name, 0)
            for year in range(today.year, today.year + 9):  # February 29 comes every eight at most
                try:
                    found = date(year, MONTHS.index(month) + 1, day)
                except (ValueError, OverflowError):
                    continue
                if found >= today:
                    return found
    raise NoAnswer(f"{' '.join(words)[:40]} is no day of the calendar")
