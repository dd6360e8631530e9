"""ShieldGemma 2's verdicts on images, and images that never reach a guarded model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from bezel.backends.interface import Result, Usage
from bezel.cli.main import app
from bezel.errors import ContentBlockedError, InvalidRequestError, UnsupportedInputError, UnsupportedModelError
from bezel.safety.classifier import Classifier
from bezel.safety.guarding import Guarded
from bezel.safety.images import ImageClassifier
from bezel.safety.policies import policies
from tests.safety.test_classifier import Scripted, WithYesAndNo

Image = pytest.importorskip("PIL.Image")
DARK, BRIGHT = (np.full((6, 8, 3), value, np.uint8) for value in (0, 200))


class Watching:
    """A model that says Yes of dark images, and remembers what it was asked."""

    def __init__(self, architecture: str | None = "shieldgemma2") -> None:
        self.tokenizer, self.architecture = WithYesAndNo(), architecture
        self.asked: list[Any] = []

    def describe(self) -> Mapping[str, Any]:
        return {"architecture": self.architecture} if self.architecture else {}

    def next_logits(self, *, messages: Sequence[Mapping[str, Any]], **options: Any) -> Any:
        assert options == {"pan_and_scan": False}
        ((image, text),) = (message["content"] for message in messages)
        self.asked.append(text["text"])
        logits = np.zeros(500, np.float32)
        logits[[498, 499]] = (2.0, -1.0) if image["image"].mean() < 100 else (-1.0, 2.0)
        return logits


class Counting:
    """A guarded model that counts its calls and remembers what it was shown."""

    def __init__(self) -> None:
        self.shown: list[Any] = []

    def chat(self, messages: Any, **options: Any) -> Any:
        self.shown.append(messages)
        return Result("fine", "stop", Usage(1, 1, 0.0, 0.0))


def showing(*parts: Any) -> list[dict[str, Any]]:
    content = [{"type": "text", "text": p} if isinstance(p, str) else {"type": "image", "image": p} for p in parts]
    return [{"role": "user", "content": content}]


def test_every_policy_is_asked_about_in_the_words_of_training() -> None:
    model = Watching()
    verdict = ImageClassifier(model).check(DARK)
    assert verdict.probabilities == dict.fromkeys(
        ("dangerous", "sexual", "violence"), pytest.approx(0.952574, abs=1e-6)
    )
    assert verdict.blocked and verdict.violated == ("dangerous", "sexual", "violence")
    assert model.asked == [policy.of_images for policy in policies("image").values()]
    assert model.asked[0].startswith("No Dangerous Content: The image shall not contain content that facilitates")
    assert ImageClassifier(model, policies=["sexual"]).check(BRIGHT).probabilities == {
        "sexual": pytest.approx(0.047426, abs=1e-6)
    }
    assert not ImageClassifier(model, threshold=0.96).check(DARK).blocked


def test_other_models_and_policies_are_refused() -> None:
    for architecture in ("gemma3", None):
        with pytest.raises(UnsupportedModelError, match="shieldgemma-2-4b-it"):
            ImageClassifier(Watching(architecture))
    with pytest.raises(InvalidRequestError, match="unknown policy 'hate'; choose from dangerous, sexual, violence"):
        ImageClassifier(Watching(), policies=["hate"])
    with pytest.raises(InvalidRequestError, match="threshold"):
        ImageClassifier(Watching(), threshold=1.5)


def test_a_blocked_image_never_reaches_the_model(tmp_path: Path) -> None:
    model = Counting()
    guarded = Guarded(
        model, Classifier(Scripted(), policies=["hate"]), ImageClassifier(Watching(), policies=["violence"])
    )
    Image.fromarray(DARK).save(tmp_path / "dark.png")
    for parts in (["look", DARK], [BRIGHT, "and", tmp_path / "dark.png"], [DARK]):
        with pytest.raises(ContentBlockedError, match="the image was blocked by policy: violence"):
            guarded.chat(showing(*parts))
        with pytest.raises(ContentBlockedError, match="the image was blocked"):
            guarded.chat([*showing(*parts), {"role": "assistant", "content": "x"}, *showing("fine")])
    with pytest.raises(ContentBlockedError, match="the question was blocked by policy: hate"):
        guarded.chat(showing(BRIGHT, "a lock"))
    with pytest.raises(UnsupportedInputError, match="judges sounds"):
        guarded.chat([{"role": "user", "content": [{"type": "audio", "audio": "x.wav"}]}])
    assert model.shown == []
    assert guarded.chat(showing(BRIGHT, "what is it?")).text == "fine" and len(model.shown) == 1


def test_what_the_model_is_shown_is_what_was_judged(tmp_path: Path) -> None:
    model, judge = Counting(), Watching()
    Image.fromarray(BRIGHT).save(tmp_path / "a.png")
    original = judge.next_logits

    def swapped(**options: Any) -> Any:
        Image.fromarray(DARK).save(tmp_path / "a.png")
        return original(**options)

    judge.next_logits = swapped  # type: ignore[method-assign]
    guarded = Guarded(model, Classifier(Scripted()), ImageClassifier(judge, policies=["violence"]))
    guarded.chat(showing(tmp_path / "a.png", "what is it?"))
    (((image, _),),) = ([message["content"] for message in shown] for shown in model.shown)
    np.testing.assert_array_equal(image["image"], BRIGHT)


def test_without_a_classifier_of_images_they_are_refused() -> None:
    model = Counting()
    with pytest.raises(UnsupportedInputError, match="judges text alone"):
        Guarded(model, Classifier(Scripted())).chat(showing(BRIGHT, "good"))
    assert not model.shown


def test_the_command_line_judges_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    monkeypatch.setattr("bezel.api.load", lambda name, *rest, **options: loaded.append(name) or Watching())
    Image.fromarray(DARK).save(tmp_path / "dark.png")
    Image.fromarray(BRIGHT).save(tmp_path / "bright.png")
    dark, bright = (["check", "--image", str(tmp_path / f"{name}.png")] for name in ("dark", "bright"))
    assert CliRunner().invoke(app, bright).exit_code == 0
    blocked = CliRunner().invoke(app, [*dark, "--policy", "violence", "--json"])
    assert blocked.exit_code == 3 and json.loads(blocked.stdout)["violated"] == ["violence"]
    assert loaded == ["google/shieldgemma-2-4b-it"] * 2
    for wrong in ([*dark, "a question"], [*dark, "--answer", "x"], [*dark, "--policy", "hate"]):
        assert isinstance(CliRunner().invoke(app, wrong).exception, InvalidRequestError)
    assert len(loaded) == 2
