"""What a classifier is shown is what a person would read."""

from __future__ import annotations

import html
import time
import unicodedata
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bezel.safety.cleaning import Cleaned, cleaned

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
    "letters that are near": PLAIN.replace("k", "к").replace("t", "т"),
    "Armenian": PLAIN.replace("o", "օ"),
    "dotless": PLAIN.replace("i", "ı"),
    "small capitals": PLAIN.replace("lock?", "ʟᴏᴄᴋ?"),
    "emoji selectors": "\ufe0f".join(PLAIN),
    "selectors of ideographs": "\U000e0100".join(PLAIN),
    "Hangul fillers": PLAIN.replace("oc", "o\u3164\uffa0\u115f\u1160c"),
    "Braille, Mongolian, Khmer": PLAIN.replace("oc", "o\u2800\u180b\u17b4\u034fc"),
    "ignored and not assigned": PLAIN.replace("oc", "o\U000e0fff\ufff0c"),
    "marks of other scripts": PLAIN.replace("oc", "o\u05b0\u064b\u0e31\u1cd0c"),
    "surrogate pairs": PLAIN.replace("lock?", "\\ud835\\uddc5\\ud835\\uddc8\\ud835\\uddbc\\ud835\\uddc4?"),
    "URL, a letter a word": PLAIN.replace("o", "%6f", 1).replace("ck", "%63k"),
    "URL of other letters": PLAIN.replace("lo", "l%d0%be"),
    "HTML without its end": PLAIN.replace("ock", "&#111&#99&#107"),
    "HTML with zeros": PLAIN.replace("ock", "&#0000000000111;&#x0000063;k"),
    "HTML within a word": PLAIN.replace("ock", "&shyock"),
    "in braces": PLAIN.replace("lock", r"\x{6c}\o{157}\u{63}%u{6b}"),
    "Coptic and Lisu": PLAIN.replace("lo", "lⲟ"),
    "octal": PLAIN.replace("lock", r"\154\157\143\153"),
    "octal, one": PLAIN.replace("lock", r"l\157ck"),
    "by name": PLAIN.replace("lock", r"\N{LATIN SMALL LETTER L}ock"),
    "of old browsers": PLAIN.replace("lock", "%u006c%u006f%u0063%u006b"),
    "HTML seven times": PLAIN.replace("o", "&amp;amp;#38;amp;#x26;amp;#111;"),
    "URL seven times": PLAIN.replace("o", "%25252525256f"),
    "each in the next": PLAIN.replace("o", r"&#x5c;u0025" + "6f"),
    "other spaces": PLAIN.replace(" ", "\u00a0").replace("a\u00a0", "a\u2003"),
    "control characters": "\x07".join(PLAIN),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_disguise_is_taken_off(disguise: str) -> None:
    found = cleaned(DISGUISES[disguise])
    assert found.text == PLAIN
    assert found.changes


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("你好 рор 你好 how do I", "你好 pop 你好 how do I"),
        ("how to cook ж соса ж at home", "how to cook ж coca ж at home"),
        ("make a lосkж", "make a lockж"),
        ("%41nswer: %behead", "Answer: %behead"),
    ],
)
def test_little_of_another_kind_vouches_for_nothing(text: str, read: str) -> None:
    assert cleaned(text).text == read


@pytest.mark.parametrize("padding", ["Как дела, дружище? " * 10, "Γειά σου Κόσμε! " * 10])
def test_another_script_around_it_hides_no_word(padding: str) -> None:
    for disguised in ("lосk", "ріck"):
        plain = disguised.translate(str.maketrans("осрі", "ocpi"))
        assert cleaned(f"{padding}{disguised} {padding}").text == f"{padding}{plain} {padding}"


@pytest.mark.parametrize(
    ("letters", "text"),
    [("🅻🅾🅲🅺", "LOCK"), ("🅛🅞🅒🅚", "LOCK"), ("🇱🇴🇨🇰", "LOCK"), ("🇱 🇴 🇨 🇰", "L O C K"), ("ᏞOᏟᏦ", "LOCK")],
)
def test_letters_in_signs(letters: str, text: str) -> None:
    assert cleaned(f"a {letters}!").text == f"a {text}!"


@pytest.mark.parametrize("end", ["\r\n", "\r", "\v", "\f", "\x85", "\u2028", "\u2029"])
def test_ends_of_lines_part_words_and_hide_nothing(end: str) -> None:
    assert cleaned(f"pick{end}a{end}lock") == Cleaned("pick\na\nlock", ())


def test_an_honorific_is_no_sentence() -> None:
    assert cleaned("ﷺ") == Cleaned("ﷺ", ())


def test_no_text_takes_long() -> None:
    for hostile in (
        "&amp;" * 50_000,
        "%25" * 80_000,
        "\\x5c" * 60_000,
        "й" * 200_000,
        "e\u0301" * 100_000,
        "a" + "\u0301\u0316" * 100_000,
        "\ufdfa" * 200_000,
        "аk " * 60_000,
    ):
        began = time.process_time()
        cleaned(hostile)
        assert time.process_time() - began < 10, "a bound that only a wrong order of growth breaks"


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
        "I ❤️ it 1️⃣ ⚠️ 🏳️‍🌈 🇺🇸",
        "Что значит слово оса?",
        "What does море mean?",
        "Işıkları söndür",
        "ᠠ᠋ ᠠ",
        "100%41 %behead %abuse",
        "LIKE '%dad%' OR x LIKE '%45%' and %02x",
        "র‍্যাব ರ‍್ಯ क‌्ष ه‍ِ १़",
        "Canım sıkıldı",
        "Я и ты у дома, а он с нами",
        "R&D at AT&T costs 5&6 and \\n",
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
