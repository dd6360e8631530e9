"""How images and sounds stand in prompts: the words of processors, and no control piece from what people write."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bezel.errors import InvalidRequestError, TemplateError, UnsupportedInputError
from bezel.testing import IMAGE_PIECES, byte_tokenizer
from bezel.text.messages import MediaPart, media_of, normalise
from bezel.text.soft import EndedForm, ImageForm, Part
from bezel.text.template import ChatTemplate

SOUND_PIECES = ("<start_of_audio>", "<audio_soft_token>")
TOKENIZER = byte_tokenizer(*IMAGE_PIECES, *SOUND_PIECES)
BEGIN, END, SOFT = (TOKENIZER.control_pieces[piece] for piece in IMAGE_PIECES)
TOKENS = 3
FORM = ImageForm(TOKENS)
CHAT = ChatTemplate(TOKENIZER, media=["image"])
ONE = f"\n\n<start_of_image>{'<image_soft_token>' * TOKENS}<end_of_image>\n\n"
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def said(*parts: Any) -> list[dict[str, Any]]:
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return [{"role": "user", "content": content}]


def shown(*crops: int) -> list[list[Part]]:
    return [FORM.parts(each) for each in crops]


def rendered(messages: list[dict[str, Any]], crops: list[int], chat: ChatTemplate = CHAT) -> str:
    return TOKENIZER.decode(chat.lay_out(messages, (), shown(*crops)).ids, keep_control=True)


def test_images_stand_where_they_were_sent_with_blank_lines_around() -> None:
    messages = said(IMAGE, " What is this? ", IMAGE, IMAGE, "and these?")
    layout = CHAT.lay_out(messages, (), shown(0, 0, 0))
    assert TOKENIZER.decode(layout.ids, keep_control=True) == (
        f"<bos><start_of_turn>user\n{ONE}What is this?{ONE}{ONE}and these?<end_of_turn>\n<start_of_turn>model\n"
    )
    soft = [i for i, token in enumerate(layout.ids) if token == SOFT]
    assert soft == [start + i for start in layout.starts for i in range(TOKENS)]


@pytest.mark.parametrize("crops", [0, 1, 2, 4])
def test_crops_stand_in_the_words_of_transformers_processor(crops: int) -> None:
    processing = pytest.importorskip("transformers.models.gemma3.processing_gemma3")
    stub = SimpleNamespace(full_image_sequence=ONE)
    expected = processing.Gemma3Processor.replace_image_token(stub, {"num_crops": [crops]}, 0)
    found = rendered(said("See: ", IMAGE, " there"), [crops])
    assert found == f"<bos><start_of_turn>user\nSee:{expected}there<end_of_turn>\n<start_of_turn>model\n"
    assert len(CHAT.lay_out(said(IMAGE), (), shown(crops)).starts) == 1 + crops


def test_a_template_that_knows_nothing_of_images_shows_them_too() -> None:
    plain = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}\n{% endfor %}"
    chat = ChatTemplate(TOKENIZER, plain, ["image"])
    assert rendered(said("a", IMAGE, "b"), [0], chat) == f"<bos>[user] a{ONE}b\n"


@pytest.mark.parametrize(
    ("source", "complaint"),
    [("{{ messages[0].role }}", "leaves out"), ("{{ messages[0].content }}{{ messages[0].content }}", "twice")],
)
def test_a_template_that_loses_or_repeats_an_image_is_refused(source: str, complaint: str) -> None:
    with pytest.raises(TemplateError, match=complaint):
        ChatTemplate(TOKENIZER, source, ["image"]).lay_out(said(IMAGE), (), shown(0))


PARTS = (
    "{{ bos_token }}{% for m in messages %}{% for part in m.content %}"
    "{% if part.type == 'image' %}{{ '<start_of_image>' }}{% else %}[{{ part.text }}]{% endif %}"
    "{% endfor %}{% endfor %}"
)


def test_a_template_that_reads_parts_writes_what_opens_an_image_itself() -> None:
    chat = ChatTemplate(TOKENIZER, PARTS, ["image"])
    assert rendered(said("a", IMAGE, IMAGE, "b"), [0, 0], chat) == f"<bos>[a]{ONE}{ONE}[b]"
    assert rendered(said(IMAGE, "<start_of_image>"), [0], chat) == f"<bos>{ONE}[<start_of_image>]"
    layout = chat.lay_out(said(IMAGE, "<start_of_image>"), (), shown(0))
    assert layout.ids.count(BEGIN) == 1 and layout.ids[layout.starts[0]] == SOFT
    assert rendered([{"role": "user", "content": "words"}], [], chat) == "<bos>[words]"
    twice = PARTS.replace("'<start_of_image>'", "'<start_of_image>' * 2")
    found = ChatTemplate(TOKENIZER, twice, ["image"]).lay_out(said(IMAGE), (), shown(0))
    assert found.ids.count(SOFT) == TOKENS
    with pytest.raises(TemplateError, match="leaves out"):
        ChatTemplate(TOKENIZER, PARTS.replace("<start_of_image>", ""), ["image"]).lay_out(said(IMAGE), (), shown(0))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([*TOKENIZER.control_pieces, "<", ">", "x", " ", "start_of_image>", None]), max_size=8))
def test_no_text_beside_an_image_becomes_one(pieces: list[str | None]) -> None:
    parts = [IMAGE if piece is None else piece for piece in pieces]
    images = pieces.count(None)
    layout = CHAT.lay_out(said(*parts, "?"), (), shown(*[0] * images))
    assert [layout.ids.count(token) for token in (BEGIN, END, SOFT)] == [images, images, images * TOKENS]
    assert len(layout.starts) == images
    assert all(layout.ids[start - 1] == BEGIN and layout.ids[start + TOKENS] == END for start in layout.starts)


def test_images_are_found_in_order_with_what_was_said_of_them() -> None:
    seen = object()
    messages = [
        *said(
            {"type": "image_url", "image_url": {"url": "a", "detail": "high"}},
            "x",
            {"type": "image_url", "image_url": "b"},
        ),
        {"role": "assistant", "content": "yes"},
        *said({"type": "image", "image": seen}, {"type": "image", "path": "c", "detail": "low"}),
    ]
    assert media_of(messages, ["image"]) == [
        MediaPart("image", "a", "high"),
        MediaPart("image", "b"),
        MediaPart("image", seen),
        MediaPart("image", "c", "low"),
    ]


def test_sounds_stand_among_images_in_the_order_they_were_sent() -> None:
    sounds = [
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "audio", "audio": "b.ogg"},
        {"type": "audio_url", "audio_url": {"url": "data:audio/wav;base64,AAAA"}},
    ]
    messages = said("one", sounds[0], IMAGE, " two ", sounds[1], sounds[2])
    chat = ChatTemplate(TOKENIZER, media=["image", "audio"])
    assert [(part.kind, part.source) for part in media_of(messages, ["image", "audio"])] == [
        ("audio", b"RIFF"),
        ("image", IMAGE["image_url"]["url"]),
        ("audio", "b.ogg"),
        ("audio", "data:audio/wav;base64,AAAA"),
    ]
    sound = EndedForm.of_sound(4).parts()
    layout = chat.lay_out(messages, (), [sound, FORM.parts(0), sound, sound])
    heard = f"\n\n<start_of_audio>{'<audio_soft_token>' * 4}\n\n"
    assert TOKENIZER.decode(layout.ids, keep_control=True) == (
        f"<bos><start_of_turn>user\none{heard}{ONE}two{heard}{heard}<end_of_turn>\n<start_of_turn>model\n"
    )
    assert len(layout.starts) == 4
    with pytest.raises(UnsupportedInputError, match=r"content\[1\] is a sound.*gemma-3n"):
        CHAT.encode(messages)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url"},
        {"type": "image_url", "image_url": {"url": ""}},
        {"type": "image", "image": b""},
        {"type": "image_url", "image_url": {"url": "a", "detail": "finest"}},
        {"type": "input_audio", "input_audio": {"data": "not base64"}},
        {"type": "input_audio", "input_audio": {"data": 3}},
        {"type": "audio"},
    ],
)
def test_a_part_that_names_no_image_is_refused_by_its_place(part: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match=r"messages\[0\]\.content\[1\]"):
        media_of(said("see", part), ["image", "audio"])


def test_images_for_a_model_that_takes_none_are_refused() -> None:
    blind = ChatTemplate(TOKENIZER)
    with pytest.raises(UnsupportedInputError, match=r"messages\[0\]\.content\[1\] is an image.*gemma-3-4b-it"):
        blind.encode(said("see", IMAGE))
    assert isinstance(UnsupportedInputError("x"), InvalidRequestError)


@pytest.mark.parametrize("role", ["system", "assistant", "tool"])
def test_only_a_user_sends_images(role: str) -> None:
    with pytest.raises(UnsupportedInputError, match="only a user's message"):
        normalise([{**said(IMAGE)[0], "role": role}], "@", ["image"])


def test_text_parts_alone_are_joined_by_lines_as_before() -> None:
    assert normalise(said(" a", "b "), "@")[0]["content"] == " a\nb "
    assert normalise(said(" a", IMAGE, "b "), "@", ["image"])[0]["content"] == "a@b"
