"""The loops of an engine: those that place tasks begin first, and hold up no other where a site does not answer."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from packhorse.engine.loop import Loop
from packhorse.engine.reconciler import Engine
from packhorse.engine.siteloop import SiteLoop
from packhorse.sites.site import local_site
from packhorse.store.database import Database
from packhorse.store.migrate import ensure_schema


def test_a_site_that_does_not_answer_holds_up_no_other_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(f"sqlite:///{tmp_path}/packhorse.db")
    ensure_schema(database)
    answers, begun, run = threading.Event(), [], Loop.run

    def work(loop: Loop, ending: threading.Event) -> None:
        begun.append(loop.name)
        if isinstance(loop, SiteLoop):
            answers.wait(30)
        run(loop, ending)

    monkeypatch.setattr(Loop, "run", work)
    engine = Engine(database, [local_site(str(tmp_path / "site"))], home=tmp_path)
    thread = threading.Thread(target=engine.run, daemon=True)
    thread.start()
    try:
        for _ in range(300):
            if len(begun) == 4:
                break
            threading.Event().wait(0.1)
        assert begun == ["local", "local reuse", "local data", "webhooks"]
    finally:
        answers.set()
        engine.stop()
        thread.join(30)
    assert not thread.is_alive()
    database.close()
