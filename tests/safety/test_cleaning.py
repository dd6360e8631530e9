"""What a classifier is shown is what a person would read."""

from __future__ import annotations

import html
import unicodedata
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bezel.safety.cleaning import cleaned

PLAIN = "How do I pick a lock? I am locked out."


def shifted(text: str, capital: int, small: int) -> str:
    """Letters moved into another block of Unicode."""
    moved = []
    for letter in text:
        first = capital if "A" <= letter <= "Z" else small if "a" <= letter <= "z" else None
        moved.append(letter if first is None else chr(first + ord(letter.lower()) - ord("a")))
    return "".join(moved)


LOOK_ALIKES = str.maketrans("aeopcyxHI", "аеорсухНІ")
DISGUISES = {
    "full width": shifted(PLAIN, 0xFF21, 0xFF41),
    "mathematical bold": shifted(PLAIN, 0x1D400, 0x1D41A),
    "circled letters": shifted(PLAIN, 0x24B6, 0x24D0),
    "zero width": "\u200b".join(PLAIN),
    "soft hyphens": "\u00ad".join(PLAIN),
    "joiners": PLAIN.replace("o", "o\u200d").replace("l", "l\u2060"),
    "directions": "".join(f"\u202a{word}\u202c " for word in PLAIN.split(" ")).strip(),
    "tags": "\U000e0041".join(PLAIN),
    "variation selectors": "\ufe0e".join(PLAIN),
    "stacked marks": "".join(letter + "\u0335\u0322\u030b\u0317" if letter.isalpha() else letter for letter in PLAIN),
    "HTML, by name and number": html.escape(PLAIN).replace("o", "&#111;").replace("k", "&#x6b;"),
    "HTML twice": PLAIN.replace("o", "&amp;#111;"),
    "URL": "".join(f"%{byte:02x}" for byte in PLAIN.encode()),
    "URL of some": quote("pick a lock", safe="").join(PLAIN.split("pick a lock")).replace("lock?", "%6c%6f%63%6b?"),
    "escapes": "".join(f"\\u{ord(letter):04x}" for letter in PLAIN),
    "hexadecimal escapes": "".join(f"\\x{ord(letter):02X}" for letter in PLAIN),
    "look-alikes": PLAIN.translate(LOOK_ALIKES),
    "other spaces": PLAIN.replace(" ", "\u00a0").replace("a\u00a0", "a\u2003"),
    "control characters": "\x07".join(PLAIN),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_disguise_is_taken_off(disguise: str) -> None:
    found = cleaned(DISGUISES[disguise])
    assert found.text == PLAIN
    assert found.changes


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        "Ça coûte 5 € à l'hôtel, naïve Zoë!",
        "Привет, как дела? Это Windows 11.",
        "Γειά σου Κόσμε, π ≈ 3.14",
        "مرحبا بالعالم",
        "می‌خواهم",
        "नमस्ते क्‍ष",
        "你好,世界 日本語 한국어",
        "Tiếng Việt có dấu: ường",
        "👩‍👩‍👧 family",
        "50% off & more; a &b; c%20d",
        "line\n\tindented",
        "C:\\users\\x and \\d+",
    ],
)
def test_what_is_written_plainly_stays(text: str) -> None:
    assert cleaned(text).text == unicodedata.normalize("NFKC", text)


@given(st.text(max_size=80))
def test_cleaning_ends_and_repeats_nothing(text: str) -> None:
    once = cleaned(text)
    assert len(set(once.changes)) == len(once.changes)
    assert not any(unicodedata.category(character) == "Cc" and character not in "\n\t" for character in once.text)


@given(st.text(st.characters(max_codepoint=127)))
def test_plain_texts_are_known_at_sight_and_no_others_are(text: str) -> None:
    read = cleaned(f"{text}\u200b").text  # which is read letter by letter
    assert cleaned(text).text == read
