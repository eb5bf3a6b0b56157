"""Whatever is asked of the REST API and of TES, they answer as their own description says, and never with 5xx; over
either database.

``PACKHORSE_FUZZ_MINUTES=5 pytest tests/integration/api/test_fuzz.py -k sqlite-tes`` goes on for so long, with
other requests each time.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from packhorse.api.app import create_app
from packhorse.api.auth import Tokens
from packhorse.domain.run import AppRun
from packhorse.engine.embedded import Embedded

APP = """\
packhorse: 1
name: t
version: '1'
command: [/bin/true]
parameters:
  i: {type: integer, optional: true}
  text: {default: ''}
  file: {type: file, optional: true}
outputs:
  value: {from: stdout, type: json}
gather: {arguments: ['{results}'], outputs: {all: {path: all.txt}}}
"""
EXAMPLES = 15
FUZZ_S = 60 * float(os.environ.get("PACKHORSE_FUZZ_MINUTES", "0"))
DOORS = {"native": "/api/v1/", "tes": "/ga4gh/tes/v1/"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
    allow_header_conformance,
]


@pytest.fixture
def described(embedded: Embedded, home: Path) -> tuple[Any, dict[str, str], dict[str, str]]:
    """The description of an API over a store with one run, the headers of an admin, and ids of the run.

    Nobody is made to wait.
    """
    folder = home / "t"
    folder.mkdir(parents=True)
    (folder / "app.yaml").write_text(APP)
    run = embedded.mine.submit(AppRun(app=str(folder), over=[{"i": 1}, {"text": "é"}]))
    tokens = Tokens(embedded.database)
    api = create_app(embedded.service, tokens, stopping=lambda: True)
    headers = {"Authorization": f"Bearer {tokens.add('root', admin=True)}"}
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", api, headers=headers)
    return schema, headers, {"run_id": run.id, "task_id": f"{run.id}.0", "stream": "stdout", "app": str(folder)}


@pytest.mark.parametrize("door", DOORS)
def test_any_request_is_answered_as_described(door: str, described: tuple[Any, dict[str, str], dict[str, str]]) -> None:
    schema, headers, known = described
    operations = [found.ok() for found in schema.get_all_operations()]
    operations = [one for one in operations if one.path.startswith(DOORS[door])]
    assert len(operations) >= {"native": 20, "tes": 6}[door]
    began, again = time.monotonic(), 0
    while again == 0 or time.monotonic() < began + FUZZ_S:
        for operation in operations:
            if not operation.path.endswith("/health/ready"):  # a server that is stopping says 503 there
                _ask(operation, headers, known, again)
        again += 1


def _ask(operation: Any, headers: dict[str, str], known: dict[str, str], again: int) -> None:
    """Requests as the description has them, and wrong ones; of any run, and of one that is there. The first time they
    are always the same.
    """
    wrong_too = st.one_of(operation.as_strategy(), operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))

    @settings(
        max_examples=EXAMPLES,
        derandomize=again == 0,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        print_blob=again > 0,
    )
    @given(case=wrong_too, of_ours=st.booleans())
    def ask(case: schemathesis.Case, of_ours: bool) -> None:
        for part in (case.path_parameters, case.query, case.body) if of_ours else ():
            if isinstance(part, dict):
                part.update({name: value for name, value in known.items() if name in part})
        case.headers = {**(case.headers or {}), **headers}
        case.call_and_validate(checks=CHECKS)

    ask()
