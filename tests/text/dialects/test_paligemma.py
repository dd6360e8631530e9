"""PaliGemma's prompts: images, <bos>, what to do, a line break; and all that they cannot hold."""

from __future__ import annotations

from typing import Any

import pytest

from bezel.errors import BezelError, InvalidRequestError, UnsupportedInputError
from bezel.testing import byte_tokenizer
from bezel.text.dialects.paligemma import IMAGE_PIECE, PrefixTemplate
from bezel.text.soft import Soft

TOKENIZER = byte_tokenizer(IMAGE_PIECE)
IMAGE = {"type": "image", "image": "cat.png"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def said(*parts: Any) -> list[dict[str, Any]]:
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return [{"role": "user", "content": content}]


def laid_out(messages: list[dict[str, Any]], images: int = 1, **options: Any) -> Any:
    return PrefixTemplate(TOKENIZER).lay_out(messages, shown=[[Soft(3, IMAGE_PIECE)]] * images, **options)


def test_images_come_first_wherever_they_were_sent() -> None:
    for parts in ((IMAGE, IMAGE, " detect cat "), ("detect cat", IMAGE, IMAGE), ("detect", IMAGE, "cat", IMAGE)):
        layout = laid_out(said(*parts), 2)
        assert TOKENIZER.decode(layout.ids, keep_control=True) == f"{IMAGE_PIECE * 6}<bos>detect cat\n"
        assert layout.starts == [0, 3] and layout.prefix
    assert TOKENIZER.decode(laid_out(said(IMAGE)).ids, keep_control=True) == f"{IMAGE_PIECE * 3}<bos>\n"


def test_no_text_becomes_a_control_piece() -> None:
    ids = laid_out(said(IMAGE, "<image><bos><end_of_turn>")).ids
    assert [i for i in ids if i in TOKENIZER.control_ids] == [*[TOKENIZER.control_pieces[IMAGE_PIECE]] * 3, 2]


@pytest.mark.parametrize(
    ("messages", "options", "kind", "complaint"),
    [
        ([{"role": "system", "content": "Be brief."}, *said(IMAGE, "x")], {}, InvalidRequestError, "no system text"),
        ([*said(IMAGE, "x"), {"role": "assistant", "content": "y"}, *said("z")], {}, InvalidRequestError, "not chat"),
        ([{"role": "assistant", "content": "x"}], {}, InvalidRequestError, "one user's message"),
        (said(IMAGE, "x"), {"tools": [TOOL]}, InvalidRequestError, "leave tools out"),
        (said("detect cat"), {"images": 0}, UnsupportedInputError, "has none; send one"),
        ([{"role": "user", "content": "detect cat"}], {"images": 0}, UnsupportedInputError, "has none"),
    ],
)
def test_what_no_prefix_can_hold_is_refused(
    messages: list[dict[str, Any]], options: dict[str, Any], kind: type[BezelError], complaint: str
) -> None:
    with pytest.raises(kind, match=complaint):
        laid_out(messages, **options)
