"""How images stand in prompts: the words of Gemma 3's processor, and no control piece from what people write."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bezel.errors import InvalidRequestError, TemplateError, UnsupportedInputError
from bezel.testing import IMAGE_PIECES, byte_tokenizer
from bezel.text.images import ImageForm
from bezel.text.messages import ImagePart, images_of, normalise
from bezel.text.template import ChatTemplate

TOKENIZER = byte_tokenizer(*IMAGE_PIECES)
BEGIN, END, SOFT = (TOKENIZER.control_pieces[piece] for piece in IMAGE_PIECES)
TOKENS = 3
FORM = ImageForm(TOKENS, SOFT)
CHAT = ChatTemplate(TOKENIZER, images=FORM)
ONE = f"\n\n<start_of_image>{'<image_soft_token>' * TOKENS}<end_of_image>\n\n"
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def said(*parts: Any) -> list[dict[str, Any]]:
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return [{"role": "user", "content": content}]


def rendered(messages: list[dict[str, Any]], crops: list[int], chat: ChatTemplate = CHAT) -> str:
    return TOKENIZER.decode(chat.lay_out(messages, (), crops).ids, keep_control=True)


def test_images_stand_where_they_were_sent_with_blank_lines_around() -> None:
    messages = said(IMAGE, " What is this? ", IMAGE, IMAGE, "and these?")
    layout = CHAT.lay_out(messages, (), [0, 0, 0])
    assert TOKENIZER.decode(layout.ids, keep_control=True) == (
        f"<bos><start_of_turn>user\n{ONE}What is this?{ONE}{ONE}and these?<end_of_turn>\n<start_of_turn>model\n"
    )
    soft = [i for i, token in enumerate(layout.ids) if token == SOFT]
    assert soft == [start + i for start in layout.images for i in range(TOKENS)]


@pytest.mark.parametrize("crops", [0, 1, 2, 4])
def test_crops_stand_in_the_words_of_transformers_processor(crops: int) -> None:
    processing = pytest.importorskip("transformers.models.gemma3.processing_gemma3")
    stub = SimpleNamespace(full_image_sequence=ONE)
    expected = processing.Gemma3Processor.replace_image_token(stub, {"num_crops": [crops]}, 0)
    found = rendered(said("See: ", IMAGE, " there"), [crops])
    assert found == f"<bos><start_of_turn>user\nSee:{expected}there<end_of_turn>\n<start_of_turn>model\n"
    assert len(CHAT.lay_out(said(IMAGE), (), [crops]).images) == 1 + crops


def test_a_template_that_knows_nothing_of_images_shows_them_too() -> None:
    plain = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}\n{% endfor %}"
    chat = ChatTemplate(TOKENIZER, plain, FORM)
    assert rendered(said("a", IMAGE, "b"), [0], chat) == f"<bos>[user] a{ONE}b\n"


@pytest.mark.parametrize(
    ("source", "complaint"),
    [("{{ messages[0].role }}", "leaves out"), ("{{ messages[0].content }}{{ messages[0].content }}", "twice")],
)
def test_a_template_that_loses_or_repeats_an_image_is_refused(source: str, complaint: str) -> None:
    with pytest.raises(TemplateError, match=complaint):
        ChatTemplate(TOKENIZER, source, FORM).lay_out(said(IMAGE), (), [0])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([*TOKENIZER.control_pieces, "<", ">", "x", " ", "start_of_image>", None]), max_size=8))
def test_no_text_beside_an_image_becomes_one(pieces: list[str | None]) -> None:
    parts = [IMAGE if piece is None else piece for piece in pieces]
    images = pieces.count(None)
    layout = CHAT.lay_out(said(*parts, "?"), (), [0] * images)
    assert [layout.ids.count(token) for token in (BEGIN, END, SOFT)] == [images, images, images * TOKENS]
    assert len(layout.images) == images
    assert all(layout.ids[start - 1] == BEGIN and layout.ids[start + TOKENS] == END for start in layout.images)


def test_images_are_found_in_order_with_what_was_said_of_them() -> None:
    shown = object()
    messages = [
        *said(
            {"type": "image_url", "image_url": {"url": "a", "detail": "high"}},
            "x",
            {"type": "image_url", "image_url": "b"},
        ),
        {"role": "assistant", "content": "yes"},
        *said({"type": "image", "image": shown}, {"type": "image", "path": "c", "detail": "low"}),
    ]
    assert images_of(messages) == [
        ImagePart("a", "high"),
        ImagePart("b"),
        ImagePart(shown),
        ImagePart("c", "low"),
    ]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url"},
        {"type": "image_url", "image_url": {"url": ""}},
        {"type": "image", "image": b""},
        {"type": "image_url", "image_url": {"url": "a", "detail": "finest"}},
    ],
)
def test_a_part_that_names_no_image_is_refused_by_its_place(part: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match=r"messages\[0\]\.content\[1\]"):
        images_of(said("see", part))


def test_images_for_a_model_that_takes_none_are_refused() -> None:
    blind = ChatTemplate(TOKENIZER)
    with pytest.raises(UnsupportedInputError, match=r"messages\[0\]\.content\[1\] is an image.*gemma-3-4b-it"):
        blind.encode(said("see", IMAGE))
    assert isinstance(UnsupportedInputError("x"), InvalidRequestError)


@pytest.mark.parametrize("role", ["system", "assistant", "tool"])
def test_only_a_user_sends_images(role: str) -> None:
    with pytest.raises(UnsupportedInputError, match="only a user's message"):
        normalise([{**said(IMAGE)[0], "role": role}], "@")


def test_text_parts_alone_are_joined_by_lines_as_before() -> None:
    assert normalise(said(" a", "b "), "@")[0]["content"] == " a\nb "
    assert normalise(said(" a", IMAGE, "b "), "@")[0]["content"] == "a@b"
