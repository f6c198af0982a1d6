"""Language tags of every spelling are one code."""

import pytest

from microturn.datagen.corpora.languages import language_tag


@pytest.mark.parametrize(
    ("stated", "code"),
    [
        *((name, "en") for name in ("en", "en-US", "en_GB", "EN", "eng", "English", "en.UTF-8")),
        *((name, "en") for name in ("english (US)", "American English", " English ")),
        *((name, "de") for name in ("de-AT", "deu", "ger", "German", "Deutsch")),
        ("zh-CN", "zh"),
        ("cmn", "zh"),
        ("pt-BR", "pt"),
        ("sr-Cyrl-RS", "sr"),
        ("yue", "yue"),  # no code of two letters
        ("hsb", "hsb"),
        ("lingua ignota", "lingua ignota"),
        *((name, "") for name in ("", "und", "unknown", "N/A")),
    ],
)
def test_every_spelling_of_a_language_is_its_code(stated: str, code: str) -> None:
    assert language_tag(stated) == code
    assert language_tag(code) == code
