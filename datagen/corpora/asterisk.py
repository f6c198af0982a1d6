"""What the Asterisk core prompts say: file name -> text, for the prompts that have a plain one."""

from __future__ import annotations

ICAO = (
    "alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november oscar "
    "papa quebec romeo sierra tango uniform victor whiskey xray yankee zulu"
).split()
_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
).split()
_TENS = "thirty forty fifty sixty seventy eighty ninety".split()
_ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
    "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
).split()
_TENTHS = "thirtieth fortieth fiftieth sixtieth seventieth eightieth ninetieth".split()
_DAYS = "sunday monday tuesday wednesday thursday friday saturday".split()
_MONTHS = (
    "january february march april may june july august september october november december"
).split()
_WORDS = {
    "digits/a-m": "a m",
    "digits/p-m": "p m",
    "digits/oclock": "o'clock",
    "letters/zed": "zed",
    "phonetic/9_p": "niner",
    "hello": "hello",
    "goodbye": "goodbye",
    "vm-goodbye": "goodbye",
    "sorry": "sorry",
    "im-sorry": "i'm sorry",
    "one-moment-please": "one moment please",
    "auth-thankyou": "thank you",
    "seconds": "seconds",
    "second": "second",
    "minute": "minute",
    "minutes": "minutes",
    "hours": "hours",
    "time": "time",
    "number": "number",
    "vm-from": "from",
    "for": "for",
    "is": "is",
    "with": "with",
    "vm-no": "no",
    "vm-and": "and",
    "letters/plus": "plus",
    "letters/equals": "equals",
}
_SAME = "at,billion,dollars,hundred,million,minus,oh,pound,star,thousand,today,tomorrow,yesterday"


def english_texts() -> dict[str, str]:
    """Texts of the English prompts by path without suffix."""
    texts = {f"digits/{n}": word for n, word in enumerate(_SMALL)}
    texts |= {f"digits/{10 * n}": word for n, word in enumerate(_TENS, start=3)}
    texts |= {f"digits/h-{n}": word for n, word in enumerate(_ORDINALS, start=1)}
    texts |= {f"digits/h-{10 * n}": word for n, word in enumerate(_TENTHS, start=3)}
    texts |= {f"digits/h-{name}": f"{name}th" for name in ("hundred", "thousand", "million")}
    texts |= {f"digits/day-{n}": word for n, word in enumerate(_DAYS)}
    texts |= {f"digits/mon-{n}": word for n, word in enumerate(_MONTHS)}
    texts |= {f"digits/{word}": word for word in _SAME.split(",")}
    texts |= {f"phonetic/{word[0]}_p": word for word in ICAO}
    texts |= {f"letters/{word[0]}": word[0] for word in ICAO}
    return texts | _WORDS
