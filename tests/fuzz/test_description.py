"""What the OpenAPI description says is so: schemathesis asks every address with what it allows and what it does not.

BEZEL_EXAMPLES asks for more of each address than CI does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from bezel.service.keys import SCOPES
from tests.fuzz.server_life import Process

EXAMPLES = int(os.environ.get("BEZEL_EXAMPLES", "6"))
CHECKS = "not_a_server_error,status_code_conformance,response_schema_conformance,ignored_auth,missing_required_header"


def test_the_description_names_what_every_address_takes_and_answers(tmp_path: Path) -> None:
    process = Process(tmp_path)
    try:
        headers = {"authorization": f"Bearer {process.secret}"}
        found = httpx.get(f"http://127.0.0.1:{process.port}/openapi.json", headers=headers, trust_env=False).json()
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
    pytest.importorskip("schemathesis", reason="pip install 'bezel[dev]'")
    process = Process(tmp_path)
    address = f"http://127.0.0.1:{process.port}/openapi.json"
    command = [sys.executable, "-m", "schemathesis.cli", "run", address, "--checks", CHECKS, "-n", str(EXAMPLES)]
    command += ["--header", f"Authorization: Bearer {process.secret}", "--mode", "all", "--seed", "1", "--no-color"]
    command += ["--phases", "examples,coverage,fuzzing", "--generation-database", "none"]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    try:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        print(done.stdout[-2000:], file=sys.stderr)
        assert process.alive and done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    finally:
        process.stop()
