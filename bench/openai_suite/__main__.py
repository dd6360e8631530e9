"""OpenAI's own client tests of the resources that are served, against a live server.

`python -m bench.openai_suite CHECKOUT [--python PYTHON]`: CHECKOUT is a folder of openai-python with its tests, such as
its release's source from PyPI; PYTHON has pytest, pytest-asyncio, rich, aiohttp and what the client needs. Ends with 1
where a case neither passes nor stands in `differences.CASES`, failing as it is said there.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from bench.openai_suite.differences import CASES, PARAMETERS
from bezel.backends.native import NativeBackend
from tests.fuzz.server_life import flagging
from tests.service.engines import CountingEmbedder, CountingHearer
from tests.service.live import Live
from tests.service.test_audio import wav

ROOT = Path(__file__).parent.parent.parent
_CONTEXT = 512  # answers without a limit end there
RESOURCES = (
    *("chat", "test_completions.py", "test_responses.py", "responses", "test_embeddings.py", "test_models.py"),
    *(
        "test_files.py",
        "test_moderations.py",
        "test_batches.py",
        "audio/test_transcriptions.py",
        "audio/test_translations.py",
    ),
)


def main() -> int:
    """Start a server, run the cases, print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--python", default=sys.executable, help="interpreter for the tests; default: this one")
    parser.add_argument("--verbose", action="store_true", help="pytest's own output too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        backends: Any = {"tiny": NativeBackend.load("tiny", threads=1, context=_CONTEXT)}
        backends |= {"embedder": CountingEmbedder(), "hearer": CountingHearer()}
        live = Live(
            folder, backends=backends, batch_folder=str(folder / "batches"), policy=flagging(folder), rate_limit=0
        )
        try:
            cases = run(live, folder, arguments)
        finally:
            live.stop()
    return tell(cases)


def run(live: Live, folder: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """What the plugin wrote down of each case."""
    (folder / "note.wav").write_bytes(wav(0.5))
    report = folder / "report.jsonl"
    url = f"{live.url}/v1"
    setup = {"key": live.secret, "url": url, "report": str(report), "sound": str(folder / "note.wav")}
    source = arguments.checkout.resolve()
    environment = {**os.environ, "BEZEL_SUITE": json.dumps(setup), "TEST_API_BASE_URL": url}
    environment["PYTHONPATH"] = os.pathsep.join([str(source / "src"), str(ROOT)])
    command = [arguments.python, "-m", "pytest", "-o", "addopts=", "-p", "bench.openai_suite.plugin", "-q"]
    command += ["-p", "no:cacheprovider", "--tb=short", *(f"tests/api_resources/{each}" for each in RESOURCES)]
    subprocess.run(command, cwd=source, env=environment, check=False, capture_output=not arguments.verbose)
    return [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []


def tell(cases: list[dict[str, Any]]) -> int:
    """Print the tables; 1 where something was not expected, or nothing ran."""
    excepted: Counter[str] = Counter()
    wrong = []
    for case in cases:
        entry = next((each for each in CASES if re.search(each[0], case["name"])), None)
        if case["outcome"] == "failed" and entry and re.search(entry[1], case["said"]):
            excepted[f"{entry[0]} ({entry[1]}): {entry[2]}"] += 1
            case["outcome"] = "excepted"
        elif case["outcome"] == "failed":
            wrong.append(case)
    counts = Counter(case["outcome"] for case in cases)
    without = Counter(path for case in cases if case["outcome"] == "passed" for path in case["without"])
    print(f"{len(cases)} cases: " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    print(f"of those that passed, {sum(bool(c['without']) for c in cases if c['outcome'] == 'passed')} without:")
    reasons = {path: reason for each in PARAMETERS.values() for path, (_, reason) in each.items()}
    for path, count in sorted(without.items()):
        print(f"  {count:4} {path}: {reasons[path]}")
    print("excepted:")
    for what, count in sorted(excepted.items()):
        print(f"  {count:4} {what}")
    for case in wrong:
        print(f"FAILED {case['name']}\n{case['said']}\n")
    return 1 if wrong or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
