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
from bezel.training.data.pictures.seen import Asked
from bezel.training.data.speech import phrases

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
export_towers = pytest.importorskip("recipes.tiny.export_towers")
from recipes.tiny import (  # noqa: E402
    hearing,
    local,
    packing,
    pointing,
    positions,
    precision,
    reading,
    seeing,
    shown,
    sounds,
    starting,
    told,
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
    return logits[: int((batch.rows.weights > 0).sum())].numpy()


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
    seen = seeing.draw(rng, "held_out", 0.5)
    question = seen.asked[0]
    example = seeing.example(type(seen)(seen.drawn, (question,)), asked, rng)
    batch, used = seeing.batch_of([example], asked.start)
    assert used == {0}
    model = random_weights(seeing.Sees(len(asked.tokenizer)))
    positions.split(model.positions, shown.PATCHES_OF_A_SIDE)
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


def test_letters_are_found_in_the_patches_and_tokens_of_a_picture_and_of_its_parts() -> None:
    from bezel.training.data.pictures.canvas import Canvas

    canvas = Canvas(256, 256, "#ffffff")
    canvas.text(8, 8, "H", fonts.BUILT_IN, 12, "#000000")  # in the first token
    canvas.text(24, 40, "7", fonts.BUILT_IN, 12, "#000000")  # second of the row, third row of tokens
    drawn = canvas.finished()

    def found(letters: np.ndarray) -> dict[tuple[int, int], str]:
        places = zip(*(each.tolist() for each in np.nonzero(letters)), strict=True)
        return {place: shown.LETTERS[letters[place] - 1] for place in places}

    whole = shown.shown_on(drawn)
    assert found(whole.by_token) == {(0, 0): "H", (2 * 16 + 1, 0): "7"}
    assert found(whole.by_patch) == {(32 + 1, 0): "H", (5 * 32 + 3, 0): "7"}
    half = shown.shown_on(drawn, (16 / 256, 32 / 256, 0.5))
    assert found(half.by_token) == {(17, 0): "7"}, "tokens of half a picture are half as large"


def test_tokens_know_what_they_stand_for() -> None:
    look = Look(palette=("#ff0000",), horizontal=True)
    drawn = draw(Chart("bar", "", ("a", "b", "c"), (10, 250, 0.5), look))
    found = shown.shown_on(drawn).meanings.reshape(16, 16, len(shown.MEANINGS))
    end = 58  # 24 bins a decade
    assert abs(10 ** (end / shown.BINS_OF_A_DECADE) / 250 - 1) < 0.05
    asked = [(shown.RANKS[rank], *rest) for rank, *rest in found[:, 0].tolist() if rank != shown.NOT_ASKED]
    assert asked == [("between", 0, 24, end), ("highest", 19, end, end), ("lowest", 0, shown.NOT_ASKED, end)]
    bar = found[7, 2:14]
    assert (bar == found[7, 0]).all() and (found[7, 0] == [shown.RANKS.index("highest"), 19, end, end]).all()
    assert (found[5] == shown.NOT_ASKED).all(), "nothing is asked about what lies between"
    marks = {tuple(mark) for mark in found[15].tolist() if mark[1] != shown.NOT_ASKED}
    bins = (shown.NOT_ASKED, 41, 48, 52, 55, end)  # of 0, 50, 100, 150, 200 and 250
    heights = (0, 4, 8, 12, 16, 19)
    assert marks == {(shown.NOT_ASKED, height, value, end) for height, value in zip(heights, bins, strict=True)}, (
        "marks of the axis have no rank"
    )


@pytest.mark.parametrize("chart", ["bar", "lying", "pie"])
def test_a_legend_explains_what_has_its_colour(chart: str) -> None:
    palette = ("#ff0000", "#00ff00", "#0000ff")
    look = Look(palette=palette, legend=True, horizontal=chart == "lying")
    drawn = draw(Chart("pie" if chart == "pie" else "bar", "Title", ("aa", "bb", "cc"), (50, 30, 20), look))
    explained = shown.shown_on(drawn).explained
    pixels = np.asarray(drawn.image).reshape(16, 16, 16, 16, 3).swapaxes(1, 2).reshape(256, 256, 3)  # of every token

    def shows(token: int, colour: str) -> bool:
        return bool((pixels[token] == [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).all(-1).any())

    for label, colour in zip("abc", palette, strict=True):
        letters = [glyph for glyph in drawn.glyphs if glyph.character == label and glyph.meaning]
        tokens = [int(glyph.y * 16) * 16 + int(glyph.x * 16) for glyph in letters]
        assert len(tokens) == 2
        for token in tokens:
            parts = np.flatnonzero(explained[token])
            assert len(parts) and not explained[parts].any(), "a bar explains nothing"
            assert all(shows(part, colour) for part in parts.tolist())
            assert not set(parts.tolist()) & {token - 1, token}, "and the legend's square is not what it explains"
    plain = draw(Chart("bar", "Title", ("aa", "bb", "cc"), (50, 30, 20), Look(palette=palette)))
    assert not shown.shown_on(plain).explained.any()
    assert not shown.shown_on(drawn, (0.0, 0.0, 0.9)).explained.any()


def test_what_a_legend_looks_at_is_part_of_what_is_told() -> None:
    explained = torch.zeros(1, shown.TOKENS, shown.TOKENS, dtype=torch.bool)
    explained[0, 5, 9:11] = True
    no_letters, no_meanings = torch.zeros(1, 4, 1, dtype=torch.long), torch.zeros(1, 4, 0)
    wanted = shown.Shown(no_letters, no_letters, no_meanings, explained)

    def loss_of(*looked_at: int) -> float:
        weights, of_none = torch.zeros(1, shown.TOKENS, shown.TOKENS), torch.zeros(1, 4, 1, 1)
        weights[0, 5, looked_at] = 0.5
        return float(told.Told(of_none, of_none, (), (weights,)).loss(wanted, 1.0))

    assert loss_of(9, 10) < 1e-3 and loss_of(9, 30) == pytest.approx(told.LEGENDS_WEIGHT * np.log(2), rel=1e-3)
    assert loss_of(30, 31) > 3


def looking_for(kind: str, sights: np.ndarray) -> list[list[int]]:
    return [np.flatnonzero(each).tolist() for each in sights[:, pointing.SIGHTS.index(kind)]]


def test_an_answer_looks_at_the_letters_that_it_writes() -> None:
    from bezel.training.data.pictures.canvas import Canvas

    canvas = Canvas(256, 256, "#ffffff")
    for x, y, text in ((8, 8, "A"), (40, 8, "B"), (8, 40, "7"), (40, 40, "A")):
        canvas.text(x, y, text, fonts.BUILT_IN, 12, "#000000")
    drawn, a, b, seven, other = canvas.finished(), [0], [2], [32], [34]
    sights = pointing.sights_of(drawn, Asked("Read it.", "A B\n7A", "text"), ["A", " ", "B", "\n", "7A", "<end>"])
    assert looking_for("next", sights) == [a, b, b, seven, seven, []]
    assert looking_for("written", sights) == [[], a, a, b, b, other]
    assert not any(looking_for("subject", sights))
    assert looking_for("next", pointing.sights_of(drawn, Asked("?", "B", "text"), ["B", "<end>"])) == [b, []]
    assert not pointing.sights_of(drawn, Asked("?", "A", "text"), ["A", "<end>"]).any(), "which of both, nobody knows"


def test_an_answer_looks_at_what_a_chart_is_asked_about() -> None:
    look = Look(palette=("#ff0000",), horizontal=True, gap=0.7)
    drawn = draw(Chart("bar", "ab", ("a", "b", "c"), (10, 250, 50), look))
    labels = [[int(glyph.y * 16) * 16] for glyph in drawn.glyphs if glyph.meaning and glyph.meaning.rank]
    for task, answer, which in (("highest", "b", 1), ("lowest", "a", 0), ("value", "50", 2)):
        [about, *_] = looking_for("subject", pointing.sights_of(drawn, Asked("?", answer, task), [answer, "<end>"]))
        assert set(labels[which]) < set(about) and len(about) > 1
        assert all(abs(token // 16 - labels[which][0] // 16) <= 1 for token in about), "and its bar, but no other"
    sights = pointing.sights_of(drawn, Asked("?", "b", "highest"), ["b", "<end>"])
    assert looking_for("next", sights) == [labels[1], []] and looking_for("written", sights) == [[], labels[1]]
    assert not looking_for("next", pointing.sights_of(drawn, Asked("?", "50", "value"), ["50"]))[0], "it is not printed"
    assert not pointing.sights_of(drawn, Asked("?", "rising", "trend"), ["rising"]).any()


def test_an_answer_knows_the_value_that_it_is_about() -> None:
    value = pointing.value_of(Asked("?", "250", "value"))
    assert abs(10 ** (value / shown.BINS_OF_A_DECADE) / 250 - 1) < 0.05
    assert pointing.value_of(Asked("?", "0.5", "value")) == shown.NOT_ASKED, "below what bins tell"
    assert pointing.value_of(Asked("?", "1984", "text")) == shown.NOT_ASKED
    logits, wanted = torch.zeros(3, shown.BINS), torch.tensor([value, shown.NOT_ASKED, value])
    logits[0, value] = logits[1, 3] = 20.0
    assert abs(told.meaning_loss(logits, wanted) - np.log(shown.BINS) / 2) < 0.01
    assert told.meaning_loss(logits, torch.full((3,), shown.NOT_ASKED)) == 0


def test_heads_are_told_where_to_look() -> None:
    answers, tokens, length = 4, shown.TOKENS, shown.TOKENS + 20
    weights = torch.full((2, 3, length, length), 1e-3)
    places, start = torch.tensor([5, 19, length + 7, 3]), 9
    wanted = torch.tensor([0, 31, tokens - 1, 8])
    for place, token in zip(places.tolist(), wanted.tolist(), strict=True):
        weights[place // length, 1, place % length, start + token] = 0.9
    found = pointing.looked(weights, places, start)
    assert found.shape == (answers, 3, tokens) and found[:, 1].argmax(-1).tolist() == wanted.tolist()
    assert (found[:, 0] == 1e-3).all()
    sights = torch.zeros(answers, len(pointing.SIGHTS), tokens, dtype=torch.bool)
    sights[range(3), pointing.SIGHTS.index("subject"), wanted[:3]] = True
    looks = {layer: found for layer in pointing.HEADS}
    heads = len(pointing.HEADS)
    assert abs(pointing.pointing_loss(looks, sights) / (heads * -np.log(0.9)) - 1) < 1e-3
    assert pointing.pointing_loss(looks, torch.zeros_like(sights)) == 0
    right = pointing.pointed_right(looks, sights)
    assert {name: hits for name, hits in right.items() if hits} == {
        f"subject by {layer}": [True] * 3 for layer in pointing.HEADS
    }


@pytest.mark.parametrize("kind", ["bar", "line", "pie"])
def test_every_label_of_a_chart_has_marks_that_mean_the_same(kind: str) -> None:
    drawn = draw(Chart(kind, "Title", ("a", "b", "c"), (50, 30, 20), Look()))  # type: ignore[arg-type]
    labels = [glyph.meaning for glyph in drawn.glyphs if glyph.meaning and glyph.meaning.rank]
    assert [(meaning.value, meaning.rank) for meaning in labels] == [
        (50, "highest"),
        (30, "between"),
        (20, "lowest"),
    ]
    assert set(labels) == {mark.meaning for mark in drawn.marks}
    assert all(0 < mark.x < 1 and 0 < mark.y < 1 for mark in drawn.marks)


def test_a_position_is_a_row_a_column_and_its_own() -> None:
    table = torch.nn.Embedding(16, 192)
    begun = table.weight.detach().clone()
    positions.split(table, 4)
    assert torch.allclose(table.weight, begun, atol=1e-5)
    table.weight.pow(2).sum().backward()
    table.parametrizations.weight[0].rows.data[2] += 1.0
    positions.join(table)
    moved = (table.weight - begun).abs().sum(1) > 1
    assert moved.view(4, 4).all(1).tolist() == [False, False, True, False]


def test_a_tower_begins_by_looking_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "for_training", lambda: (fonts.BUILT_IN,))
    model = seeing.Sees(64)
    table, tower = model.positions.weight.detach().view(32, 32, -1), model.model.model.vision_tower
    across = table[0] - table[1]
    assert torch.allclose(across, across[:1].expand(32, -1), atol=1e-5), "rows differ by the same in every column"
    assert abs(across[0] @ (table[0, 0] - table[0, 1])) < 1e-4, "and not as columns do"
    [(picture, _), *_] = reading.pictures(random.Random(2), reading.FEW_CHARTS)
    pixels = torch.from_numpy(picture.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1)
    side, hidden = shown.PATCHES_OF_A_SIDE, tower.embeddings(pixels).detach()
    for layer, around in zip(tower.encoder.layers, local.AROUND, strict=True):
        with torch.no_grad():
            normed, attention = layer.layer_norm1(hidden), layer.self_attn
            q, k = (each(normed).view(-1, 3, 64).transpose(0, 1) for each in (attention.q_proj, attention.k_proj))
            seen = (q @ k.transpose(1, 2) / 64**0.5).softmax(-1).view(3, side, side, side, side)
            hidden = layer(hidden, None)
        for head, (down, right) in enumerate(around):
            for row, column in ((5, 7), (9, 30)):
                rows = slice(None) if down is None else row + down
                columns = slice(None) if right is None else column + right
                assert seen[head, row, column, rows, columns].sum() > 0.5


def test_a_letter_on_a_border_may_be_told_by_either_token() -> None:
    wanted = shown.batched([shown.NOTHING])
    wanted.by_token[0, 17, :2], wanted.by_token[0, 19, 0] = torch.tensor([5, 6]), 6  # the second row

    def told_at(places: list[tuple[int, int, int]]) -> told.Told:
        letters = len(shown.LETTERS) + 1
        by_patch = torch.zeros(1, shown.PATCHES, shown.EACH_PATCH, letters)
        by_token = torch.zeros(1, shown.TOKENS, shown.EACH_TOKEN, letters)
        by_patch[..., 0] = by_token[..., 0] = 20.0
        for token, slot, letter in places:
            by_token[0, token, slot, [0, letter]] = torch.tensor([0.0, 20.0])
        return told.Told(by_patch, by_token, (torch.zeros(1, shown.TOKENS, 1),) * len(shown.MEANINGS), ())

    own, others = [(17, 0, 5), (17, 1, 6), (19, 0, 6)], [(16, 3, 5), (18, 0, 6), (18, 2, 6)]
    for places in (own, others):
        assert told_at(places).loss(wanted, 0.0) < 0.01
        rows = told.rows_read(told_at(places).by_token)
        assert rows[1] == [5, 6, 6] and not any(rows[2:])
    assert told_at(own).loss(wanted, 1.0) < 0.01
    assert told_at(others).loss(wanted, 1.0) > 5, "at first its own token is asked for"
    assert told_at([(17, 0, 5), (17, 1, 7), (19, 0, 6)]).loss(wanted, 0.0) > 5, "another letter"
    assert told_at([(33, 0, 5), (33, 1, 6), (35, 0, 6)]).loss(wanted, 0.0) > 5, "another row"


def test_reading_alone_tells_what_a_picture_that_is_asked_about_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fonts, "for_training", lambda: (fonts.BUILT_IN,))
    asked, rng = seeing.prompts(tmp_path), random.Random(6)
    batch, _ = seeing.batch_of([seeing.example(seeing.draw(rng, "train", 0.0), asked, rng)], asked.start)
    model = random_weights(seeing.Sees(len(asked.tokenizer)))
    with torch.no_grad():
        _, beside, *_ = train_sees.run_on(model, batch)
        alone = model.read(batch.pictures, torch.tensor(asked.shared[: asked.start]))
    for one, other in (
        (beside.by_patch, alone.by_patch),
        (beside.by_token, alone.by_token),
        *zip(beside.meanings, alone.meanings, strict=True),
    ):
        assert one[0].std() > 0.01 and (one[0] - other[0]).abs().max() < 0.05 * one[0].std()
    assert len(beside.looks) == len(alone.looks) == len(seeing.LEGEND_LAYERS)
    for one, other in zip(beside.looks, alone.looks, strict=True):
        row, column = divmod(int(batch.places[0]), seeing.SHAPE.length)
        assert row == 0 and column == asked.start, "the first picture's"
        assert one[0].shape == (shown.TOKENS, shown.TOKENS) and one[0].sum(-1).min() > 0.8
        assert (one[0] - other[0]).abs().max() < 0.05 * other[0].max()


def test_a_step_may_leave_the_tower_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "for_training", lambda: (fonts.BUILT_IN,))
    asked, rng = seeing.prompts(tmp_path), random.Random(6)
    batch, _ = seeing.batch_of([seeing.example(seeing.draw(rng, "train", 0.0), asked, rng)], asked.start)
    model = random_weights(seeing.Sees(len(asked.tokenizer)))
    parts = model.model.model
    found = []
    for tower_learns in (True, False):
        model.zero_grad()
        answered = train_sees.run_on(model, batch, tower_learns)
        answered.logits.float().sum().backward()
        learning = [each.grad is not None for each in parts.vision_tower.parameters()]
        assert any(learning) == tower_learns
        assert parts.multi_modal_projector.mm_input_projection_weight.grad is not None
        found.append(answered.logits.detach())
    assert torch.equal(*found)


def test_what_tells_is_learned_from_a_model_that_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fonts, "for_training", lambda: (fonts.BUILT_IN,))
    monkeypatch.setattr(train_sees, "HEADS_ALONE", 2)
    asked = seeing.prompts(tmp_path)
    model = random_weights(seeing.Sees(len(asked.tokenizer)))
    begun = {name: each.detach().clone() for name, each in model.named_parameters()}
    train_sees.learn_heads(model, iter(reading.Pages(0, 1.0)), torch.tensor(asked.shared[: asked.start]))
    moved = {name for name, each in model.named_parameters() if not torch.equal(each, begun[name])}
    assert moved == {name for name in begun if name.startswith("heads.")}
    assert json.loads(capsys.readouterr().out)["heads alone"] > 0


def test_printed_text_gives_way_to_charts() -> None:
    least = seeing.PRINTED_AT_LEAST
    assert [seeing.share_of_printed(done, 0.8) for done in (0.0, 0.2, 1.0)] == pytest.approx([0.8, 0.6, least])
    assert {seeing.share_of_printed(done, least) for done in (0.0, 0.5, 1.0)} == {least}


def test_letters_alone_are_told_of_every_quarter_by_itself() -> None:
    model = random_weights(seeing.Sees(64))
    pictures = torch.randint(0, 256, (2, seeing.SIZE, seeing.SIZE, 3), dtype=torch.uint8)
    others = pictures.clone()
    others[1, :128, 128:] = 255 - others[1, :128, 128:]
    with torch.no_grad():
        moved = (model.spell(pictures) - model.spell(others)).abs().amax((-1, -2)) > 1e-3
    moved = moved.view(2, 32, 32)
    assert not moved[0].any() and moved[1, :16, 16:].all() and moved.sum() == 16 * 16


def test_reading_begins_with_pages_and_ends_with_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "for_training", lambda: (fonts.BUILT_IN,))

    def drawn(share: float, times: int) -> list[reading.Picture]:
        rng = random.Random(2)
        return [each for _ in range(times) for each in reading.pictures(rng, share)]

    def charts(found: list[reading.Picture]) -> float:
        return sum((on.meanings != shown.NOT_ASKED).any() for _, on in found) / len(found)

    begun, later = drawn(reading.FEW_CHARTS, 80), drawn(reading.MANY_CHARTS, 250)
    assert {picture.shape for picture, _ in begun + later} == {(seeing.SIZE, seeing.SIZE, 3)}
    assert charts(begun) < 0.15 < 0.45 < charts(later) < 0.8
    counts = sorted((on.by_token > 0).sum() for _, on in begun)
    assert counts[len(counts) // 2] > 150, "pages are full of letters"


def test_a_batch_puts_pictures_at_the_places_of_their_documents(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fonts, "for_training", lambda: (fonts.BUILT_IN,))
    asked, rng = seeing.prompts(tmp_path), random.Random(4)
    examples = [seeing.example(seeing.draw(rng, "train", 0.5), asked, rng) for _ in range(30)]
    batch, used = seeing.batch_of(examples, asked.start)
    assert len(used) == seeing.PICTURES
    soft = batch.rows.ids.flatten() == seeing.CONTROL.index("<image_soft_token>")
    inside = batch.places[batch.places < soft.numel()]
    assert sorted(inside.tolist()) == soft.nonzero().flatten().tolist()
    assert len(set(batch.places.tolist())) == seeing.PICTURES * seeing.TOKENS
    for number, index in enumerate(sorted(used)):
        place = int(batch.places[number * seeing.TOKENS])
        assert int(batch.rows.documents.flatten()[place]) == index
        assert np.array_equal(batch.pictures[number].numpy(), examples[index].picture)
        answered = [at for at, owner in enumerate(batch.rows.owners) if owner == index]
        assert np.array_equal(batch.sights[answered].numpy(), examples[index].sights) and len(answered) > 1
        assert place % seeing.SHAPE.length == batch.start, "a row holds one picture"
        assert np.array_equal(batch.values[answered].numpy(), examples[index].values)
        weight = 1.0 if examples[index].task == "text" else seeing.CHARTS_WEIGHT
        assert (batch.rows.weights[answered] == weight).all()
        first, *others = batch.rows.first_of_answers()[answered].tolist()
        assert first and not any(others)
    seen = seeing.masks(batch)["full_attention"]
    first = divmod(int(inside[0]), seeing.SHAPE.length)
    assert seen[first[0], 0, first[1], first[1] + seeing.TOKENS - 1], "a picture's first token sees its last"
    assert not seen[first[0], 0, first[1], first[1] + seeing.TOKENS], "but not what is behind"
