"""The Python and the commands of the pages on tools and prompts work; models that would be downloaded are tiny."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import bezel
from bezel.cli.main import app
from bezel.kernels.interface import Format
from bezel.models.vision import masks
from bezel.prompts import cultures
from bezel.testing import GEMMA3_VISION, PALIGEMMA2, vision_tensors, write_checkpoint, write_mmproj
from bezel.weights.quantize import quantize

FOLDER = Path(__file__).parent.parent / "docs"


def blocks(page: str, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", (FOLDER / page).read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", ["tools.md", "prompts.md"])
def test_the_python_of_a_page_works(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = dict(cultures._cultures)
    for number, text in enumerate(blocks(page, "toml")):
        (tmp_path / ("my-cultures.toml" if number == 0 else f"{number}.toml")).write_text(text, "utf-8")
    code = blocks(page, "python")
    assert len(code) > 2
    names = {"__name__": "page"}
    try:
        for text in code:
            exec(compile(text, page, "exec"), names)
    finally:
        cultures._cultures.clear()
        cultures._cultures.update(before)


@pytest.fixture
def seeing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder with the page's images and a model that sees them."""
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    for name, colour in (("before", "red"), ("after", "blue"), ("receipt", "white"), ("cat", "grey")):
        Image.new("RGB", (300, 270), colour).save(f"{name}.png")
    return str(write_checkpoint(tmp_path / "model", config=GEMMA3_VISION, prefix="language_model.model."))


def test_the_python_of_the_page_on_images_works(seeing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    load = bezel.load
    monkeypatch.setattr(bezel, "load", lambda name, **options: load(seeing, **options))
    names = {"__name__": "page"}
    code = blocks("vision.md", "python")
    assert len(code) > 2
    for text in code:
        exec(compile(text, "vision.md", "exec"), names)


def _write_mask_decoder(file: Path) -> None:
    """A decoder of zeros."""
    arrays = {"_vq_vae._embedding": np.zeros((128, 512), np.float32)}
    for name, shape in masks._SHAPES.items():
        outputs = shape[1] if int(name.split(".")[1]) in masks._TRANSPOSED else shape[0]
        arrays |= {f"{name}.weight": np.zeros(shape, np.float32), f"{name}.bias": np.zeros(outputs, np.float32)}
    np.savez(file, **arrays)


def test_the_commands_of_the_page_on_images_work(seeing: str) -> None:
    from bezel.weights.checkpoint import open_checkpoint

    quantize(open_checkpoint(Path(seeing)), Path("gemma-3-4b-it-Q4_0.gguf"), Format.Q4_0)
    write_mmproj(Path("mmproj-model-f16.gguf"), vision_tensors(Path(seeing)))
    pali = str(write_checkpoint(Path("pali"), config=PALIGEMMA2))
    _write_mask_decoder(Path("vae-oid.npz"))
    commands = [line for text in blocks("vision.md", "sh") for line in text.splitlines()]
    assert len(commands) == 4
    for command in commands:
        here = command.replace("google/gemma-3-4b-it", seeing).replace("google/paligemma2-3b-mix-448", pali)
        arguments = shlex.split(here, comments=True)[1:]
        done = CliRunner().invoke(app, [*arguments, "-n", "4"])
        assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    "command",
    [line for page in ("tools.md", "prompts.md") for text in blocks(page, "sh") for line in text.splitlines()],
)
def test_a_command_of_a_page_works(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if "--mcp" in command:
        pytest.skip("starts a server; see tests/tools/test_mcp.py")
    Path("functions.py").write_text('def get_weather(city: str) -> str:\n    """Weather."""\n    return "sunny"\n')
    Path("schemas.json").write_text('[{"type": "function", "function": {"name": "get_weather"}}]')
    _, verb, *arguments = shlex.split(command.partition("#")[0])
    done = CliRunner().invoke(app, [verb, "-n", "20", *arguments], input="hello\n/quit\n" if verb == "chat" else "")
    assert done.exit_code == 0, done.output


def test_the_python_of_the_page_on_the_server_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bezel.backends.native import NativeBackend
    from tests.service.live import Live

    live = Live(tmp_path, {"tiny": NativeBackend.load("tiny", threads=1)})
    monkeypatch.setenv("BEZEL_API_KEY", live.secret)
    (code,) = blocks("server.md", "python")
    try:
        exec(compile(code.replace("http://127.0.0.1:8000", live.url) + "\nclient.close()", "server.md", "exec"), {})
    finally:
        live.stop()
    assert "42" in capsys.readouterr().out


def test_the_page_on_the_server_knows_every_address_code_metric_and_setting(tmp_path: Path) -> None:
    from dataclasses import fields

    from bezel.monitor.metrics import Metrics
    from bezel.service.app import create_app
    from bezel.service.errors import CATALOGUE
    from bezel.service.scopes import scope_of
    from bezel.service.settings import ServerSettings
    from bezel.settings import read_settings
    from bezel.testing import CounterBackend

    text = (FOLDER / "server.md").read_text("utf-8")
    app = create_app(ServerSettings(api_key_db=str(tmp_path / "k")), {"counter": CounterBackend()})
    rows = {
        f"| `{method} {route.path.replace(':path', '')}` | {scope if scope == 'open' else f'`{scope}`'} |"
        for route in app.routes
        if not route.path.startswith("/page/")
        for method in route.methods
        for scope in [scope_of(route)]
    }
    assert {line for line in text.splitlines() if line.startswith(("| `GET", "| `POST", "| `DELETE"))} == {
        line for line in text.splitlines() for row in rows if line.startswith(row)
    }
    assert all(row in text for row in rows)
    assert all(f"`{kind.code}`" in text for kind in CATALOGUE.values() if kind.status != 499)
    measured = re.findall(r"^# TYPE (\w+) (?!gauge\n\w*_created)", Metrics().page().decode(), re.MULTILINE)
    assert all(f"`{name}`" in text for name in measured if not name.endswith("_created"))
    command_line = (FOLDER / "reference" / "cli.md").read_text("utf-8")
    for field in fields(ServerSettings):
        assert f"`{field.name}`" in text or f"`--{field.name.replace('_', '-')}`" in command_line
    (tmp_path / "bezel.toml").write_text(blocks("server.md", "toml")[0])
    assert read_settings(ServerSettings, "serve", {}, {}, tmp_path / "bezel.toml").token_limit == 200_000
    app.state.server.close()


def test_the_page_on_the_content_policy_knows_every_setting_and_its_rules_can_be_read(tmp_path: Path) -> None:
    from dataclasses import fields

    from bezel.safety.rules import read_rules
    from bezel.safety.settings import KINDS, PolicySettings
    from bezel.settings import read_settings

    rules, settings = blocks("policy.md", "toml")
    (tmp_path / "rules.toml").write_text(rules)
    assert [rule.name for rule in read_rules(tmp_path / "rules.toml")] == ["project-zeus", "ticket"]
    (tmp_path / "bezel.toml").write_text(settings)
    found = read_settings(PolicySettings, "policy", {}, {"BEZEL_HOLD_BACK_CHARS": "7"}, tmp_path / "bezel.toml")
    assert found.hold_back_chars == 7 and found.kinds == ("email", "iban", "card")
    text = (FOLDER / "policy.md").read_text("utf-8")
    assert all(f"{field.name} = " in settings for field in fields(PolicySettings))
    assert all(f"`{kind}`" in text for kind in KINDS)
