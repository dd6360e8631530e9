"""tiny-sees and tiny-hears at their own shapes: the recipe's forward is what our engine computes after the export."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bezel
from bezel.generation.loop import all_logits
from bezel.testing import instruction_sets
from bezel.training.data.pictures import fonts
from bezel.training.data.pictures.charts import Chart, Look, draw
from bezel.training.data.speech import phrases

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
export_towers = pytest.importorskip("recipes.tiny.export_towers")
from recipes.tiny import (  # noqa: E402
    hearing,
    packing,
    patches,
    positions,
    precision,
    reading,
    seeing,
    sounds,
    starting,
    train_hears,
    train_sees,
)
from recipes.tiny import tokenizer as tokenizers  # noqa: E402

pytestmark = pytest.mark.skipif(not instruction_sets(), reason="the compiled kernels are not built")


def random_weights(model: Any) -> Any:
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "conv" not in name:
                parameter.normal_(0, 0.08)
    return model.eval()


def exported(kind: str, model: Any, folder: Path) -> tuple[Path, Path]:
    torch.save({"model": model.state_dict()}, folder / "checkpoint.pt")
    return export_towers.export(kind, folder, folder / "out")


def logits_of(model: Any, train: Any, batch: Any, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """At the places of the one answer, in float32."""
    with monkeypatch.context() as patch, torch.no_grad():
        patch.setattr(precision, "BF16_IS_FASTER", False)
        logits, *_ = train.run_on(model, batch)
    return logits[: int(batch.rows.weights.sum())].numpy()


def ours_of(loaded: bezel.Model, messages: Any, strands: packing.Strands) -> np.ndarray:
    """Also checks that the prompt is the recipe's, token for token."""
    ids, spans = loaded._backend._prompt(loaded.request(messages))
    shared, [(prompt, answer)] = strands
    assert ids == [*shared, *prompt]
    return all_logits(loaded._backend.model, [*ids, *answer[:-1]], spans)[len(ids) - 1 :]


def assert_close(found: np.ndarray, expected: np.ndarray, share: float) -> None:
    assert found.shape == expected.shape and np.ptp(expected) > 1
    assert np.abs(found - expected).max() < share * np.ptp(expected)


def test_what_is_trained_sees_the_same_when_it_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "for_training", lambda: (fonts.BUILT_IN,))
    asked, rng = seeing.prompts(tmp_path), random.Random(3)
    seen = seeing.draw(rng, "held_out", 1.0)
    question = seen.asked[0]
    example = seeing.example(type(seen)(seen.drawn, (question,)), asked, rng)
    batch, used = seeing.batch_of([example], asked.start)
    assert used == {0}
    model = random_weights(seeing.Sees(len(asked.tokenizer)))
    positions.split(model.positions, patches.SIDE)
    expected = logits_of(model, train_sees, batch, monkeypatch)
    text, tower = exported("sees", model, tmp_path)
    assert text.stat().st_size + tower.stat().st_size < 5.5e6
    parts = [{"type": "image", "image": seen.drawn.image}, {"type": "text", "text": question.question}]
    messages = [{"role": "user", "content": parts}]
    for path, share in ((tmp_path / "out", 1e-4), (text, 0.03)):
        loaded = bezel.load(str(path), cache="f32")
        assert loaded.describe()["images"]
        assert_close(ours_of(loaded, messages, example.strands), expected, share)
    assert len(loaded.chat(messages, max_tokens=3, temperature=0.0).token_ids) > 0
    known = tokenizers.of_gguf(text, seeing.CONTROL, tokenizers.WITH_SPACES)
    trained = json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))
    assert json.loads(known.to_str())["model"]["vocab"] == trained["model"]["vocab"]
    assert known.encode("Which is the highest?\n").ids == asked.tokenizer.encode("Which is the highest?\n")
    again = seeing.Sees(len(asked.tokenizer))
    starting.take_sight(again.model.model, text, tower)
    assert_close(logits_of(again.eval(), train_sees, batch, monkeypatch), expected, 0.03)


def test_what_is_trained_hears_the_same_when_it_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bezel.media.spectrograms import LogMel

    sound = np.random.default_rng(5).normal(0, 0.1, 20_000).astype(np.float32)
    frames = LogMel()(sound).astype(np.float16)
    recording = sounds.Recording(frames, phrases.Phrase("it", "Dov'è la banca?", "Where is the bank?"))
    asked = hearing.prompts(tmp_path)
    question = hearing.asked_about(recording.phrase, random.Random(1))[0]
    strands = asked.strands([question])
    batch, used = hearing.batch_of([recording], [strands], asked.start)
    assert used == {0}
    model = random_weights(hearing.Hears(len(asked.tokenizer)))
    expected = logits_of(model, train_hears, batch, monkeypatch)
    text, tower = exported("hears", model, tmp_path)
    assert text.stat().st_size + tower.stat().st_size < 5.5e6
    parts = [{"type": "audio", "audio": sound}, {"type": "text", "text": question[0]}]
    messages = [{"role": "user", "content": parts}]
    for path, mmproj, share in ((tmp_path / "out", None, 0.01), (text, str(tower), 0.1)):
        loaded = bezel.load(str(path), cache="f32", mmproj=mmproj)
        assert loaded.describe()["sounds"]
        assert_close(ours_of(loaded, messages, strands), expected, share)
    assert len(loaded.chat(messages, max_tokens=3, temperature=0.0).token_ids) > 0
    again = hearing.Hears(len(asked.tokenizer))
    starting.take_hearing(again.model.model, text, tower)
    assert_close(logits_of(again.eval(), train_hears, batch, monkeypatch), expected, 0.1)


def test_letters_are_found_in_the_soft_tokens_of_a_picture_and_of_its_parts() -> None:
    from bezel.training.data.pictures.canvas import Canvas

    canvas = Canvas(256, 256, "#ffffff")
    canvas.text(8, 8, "H", fonts.BUILT_IN, 12, "#000000")  # in the first patch
    canvas.text(24, 40, "7", fonts.BUILT_IN, 12, "#000000")  # second of the row, third row of patches
    drawn = canvas.finished()

    def found(part: patches.Part = patches.WHOLE) -> dict[tuple[int, int], str]:
        letters = patches.letters_of(drawn, part)
        places = zip(*(each.tolist() for each in np.nonzero(letters)), strict=True)
        return {place: patches.LETTERS[letters[place] - 1] for place in places}

    assert found() == {(0, 0): "H", (2 * 16 + 1, 0): "7"}
    assert found((16 / 256, 32 / 256, 0.5)) == {(17, 0): "7"}, "patches of half a picture are half as large"


def test_patches_know_what_they_stand_for() -> None:
    look = Look(palette=("#ff0000",), horizontal=True)
    found = patches.meanings_of(draw(Chart("bar", "", ("a", "b", "c"), (10, 250, 0.5), look))).reshape(16, 16, 3)
    asked = [(patches.RANKS[rank], *rest) for rank, *rest in found[:, 0].tolist() if rank != patches.NOT_ASKED]
    assert asked == [("between", 0, 24), ("highest", 19, 58), ("lowest", 0, patches.NOT_ASKED)]  # 24 bins a decade
    assert abs(10 ** (58 / patches.BINS_OF_A_DECADE) / 250 - 1) < 0.05
    bar = found[7, 2:14]
    assert (bar == found[7, 0]).all() and (found[7, 0] == [patches.RANKS.index("highest"), 19, 58]).all()
    assert (found[5] == patches.NOT_ASKED).all(), "nothing is asked about what lies between"


@pytest.mark.parametrize("kind", ["bar", "line", "pie"])
def test_every_label_of_a_chart_has_marks_that_mean_the_same(kind: str) -> None:
    drawn = draw(Chart(kind, "Title", ("a", "b", "c"), (50, 30, 20), Look()))  # type: ignore[arg-type]
    labels = [glyph.meaning for glyph in drawn.glyphs if glyph.meaning]
    assert [meaning.value for meaning in labels] == [50, 30, 20]
    assert set(labels) == {mark.meaning for mark in drawn.marks}
    assert all(0 < mark.x < 1 and 0 < mark.y < 1 for mark in drawn.marks)


def test_a_position_is_a_row_a_column_and_its_own() -> None:
    table = torch.nn.Embedding(16, 192)
    positions.begin(table, 4)
    begun = table.weight.detach().clone()
    square = begun.view(4, 4, 192)
    across = square[0, :, :] - square[1, :, :]
    assert torch.allclose(across, across[:1].expand(4, -1), atol=1e-5), "rows differ by the same in every column"
    among = (square[:, 0] - square[:, 1])[0] @ (square[0] - square[1])[0]
    assert abs(among) < 1e-4, "and not as columns do"
    positions.split(table, 4)
    assert torch.allclose(table.weight, begun, atol=1e-5)
    table.weight.pow(2).sum().backward()
    table.parametrizations.weight[0].rows.data[2] += 1.0
    positions.join(table)
    moved = (table.weight - begun).abs().sum(1) > 1
    assert moved.view(4, 4).all(1).tolist() == [False, False, True, False]


def test_a_letter_on_a_border_may_be_told_by_either_patch() -> None:
    letters = torch.zeros(1, patches.PATCHES, patches.EACH, dtype=torch.long)
    letters[0, 17, :2], letters[0, 19, 0] = torch.tensor([5, 6]), 6  # the second row
    meanings = torch.full((1, patches.PATCHES, 3), patches.NOT_ASKED)

    def told(places: list[tuple[int, int, int]]) -> seeing.Told:
        logits = torch.zeros(1, patches.PATCHES, patches.EACH, len(patches.LETTERS) + 1)
        logits[..., 0] = 20.0
        for patch, slot, letter in places:
            logits[0, patch, slot, [0, letter]] = torch.tensor([0.0, 20.0])
        nothing = torch.zeros(1, patches.PATCHES, 1)
        return seeing.Told(logits, (nothing,) * 3)

    for places in ([(17, 0, 5), (17, 1, 6), (19, 0, 6)], [(16, 3, 5), (18, 0, 6), (18, 2, 6)]):
        assert told(places).loss(letters, meanings) < 0.01
        assert told(places).rows_read()[1] == [5, 6, 6] and not any(told(places).rows_read()[2:])
    assert told([(17, 0, 5), (17, 1, 7), (19, 0, 6)]).loss(letters, meanings) > 5, "another letter"
    assert told([(33, 0, 5), (33, 1, 6), (35, 0, 6)]).loss(letters, meanings) > 5, "another row"


def test_reading_begins_with_pages_and_ends_with_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "for_training", lambda: (fonts.BUILT_IN,))

    def drawn(done: float) -> list[reading.Shown]:
        rng = random.Random(2)
        return [each for _ in range(80) for each in reading.shown(rng, done)]

    def charts(found: list[reading.Shown]) -> float:
        return sum((meanings >= 0).any() for _, _, meanings in found) / len(found)

    begun, later = drawn(0.0), drawn(0.5)
    assert {picture.shape for picture, _, _ in begun + later} == {(seeing.SIZE, seeing.SIZE, 3)}
    assert charts(begun) < 0.15 < 0.25 < charts(later) < 0.6
    counts = sorted((letters > 0).sum() for _, letters, _ in begun)
    assert counts[len(counts) // 2] > 150, "pages are full of letters"


def test_a_batch_puts_pictures_at_the_places_of_their_documents(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fonts, "for_training", lambda: (fonts.BUILT_IN,))
    asked, rng = seeing.prompts(tmp_path), random.Random(4)
    examples = [seeing.example(seeing.draw(rng, "train", 0.5), asked, rng) for _ in range(30)]
    batch, used = seeing.batch_of(examples, asked.start)
    assert 10 < len(used) <= seeing.PICTURES
    soft = batch.rows.ids.flatten() == seeing.CONTROL.index("<image_soft_token>")
    inside = batch.places[batch.places < soft.numel()]
    assert sorted(inside.tolist()) == soft.nonzero().flatten().tolist()
    assert len(set(batch.places.tolist())) == seeing.PICTURES * seeing.TOKENS
    for number, index in enumerate(sorted(used)):
        place = int(batch.places[number * seeing.TOKENS])
        assert int(batch.rows.documents.flatten()[place]) == index
        assert np.array_equal(batch.pictures[number].numpy(), examples[index].picture)
    seen = seeing.masks(batch)["full_attention"]
    first = divmod(int(inside[0]), seeing.SHAPE.length)
    assert seen[first[0], 0, first[1], first[1] + seeing.TOKENS - 1], "a picture's first token sees its last"
    assert not seen[first[0], 0, first[1], first[1] + seeing.TOKENS], "but not what is behind"
