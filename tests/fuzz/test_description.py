"""What the OpenAPI description says is so: schemathesis asks every address with what it allows and what it does not.

BEZEL_EXAMPLES asks for more of each address than CI does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from bezel.service.keys import SCOPES
from tests.fuzz.server_life import Process

SCHEMATHESIS = os.environ.get("BEZEL_SCHEMATHESIS", "")
"""Its command, in an environment of its own: it wants another jsonschema-rs than bezel does."""
EXAMPLES = int(os.environ.get("BEZEL_EXAMPLES", "3"))
PHASES = "coverage,fuzzing" if EXAMPLES > 10 else "fuzzing"
CHECKS = "not_a_server_error,status_code_conformance,response_schema_conformance,ignored_auth"


def described(process: Process) -> Any:
    headers = {"authorization": f"Bearer {process.secret}"}
    address = f"http://127.0.0.1:{process.port}/openapi.json"
    return httpx.get(address, headers=headers, trust_env=False, timeout=120).json()


def test_the_description_names_what_every_address_takes_and_answers(tmp_path: Path) -> None:
    process = Process(tmp_path)
    try:
        found = described(process)
    finally:
        process.stop()
    assert len(found["paths"]) > 25 and found["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            assert "422" not in operation["responses"] and operation["responses"]["4XX"], (path, method)
            scopes = [scope for scope in SCOPES if f"Scope: `{scope}`" in operation.get("description", "")]
            assert bool(operation.get("security")) == bool(scopes), (path, method)
            if method == "post" and "{" not in path:
                assert operation["requestBody"]["content"], path
    form = found["paths"]["/v1/files"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(form["properties"]) == {"purpose", "file"} == set(form["required"])


def test_schemathesis(tmp_path: Path) -> None:
    if not SCHEMATHESIS:
        pytest.skip("BEZEL_SCHEMATHESIS names no schemathesis; docs/security.md says how to get one")
    process = Process(tmp_path)
    address = f"http://127.0.0.1:{process.port}/openapi.json"
    command = [str(Path(SCHEMATHESIS).absolute()), "run", address, "--checks", CHECKS, "-n", str(EXAMPLES)]
    command += ["--header", f"Authorization: Bearer {process.secret}", "--mode", "all", "--seed", "1", "--no-color"]
    command += ["--phases", PHASES, "--generation-database", "none", "--request-timeout", "60"]
    try:
        described(process)  # made when it is first asked for
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        print(done.stdout[-2000:], file=sys.stderr)
        assert process.alive and done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    finally:
        process.stop()
