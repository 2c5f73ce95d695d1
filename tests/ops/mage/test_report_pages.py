"""The route of the reports: the page, nothing, or one sentence."""

import asyncio
from pathlib import Path

import pytest
from nyc_taxi.errors import TargetUnavailable
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from ops.mage.patches.reports.report_pages import ROUTES, ReportPageHandler

NAME = "green/2019-07/trip_report.html"


def answer(path: str) -> HTTPResponse:
    async def ask() -> HTTPResponse:
        server = HTTPServer(Application([(route, ReportPageHandler) for route in ROUTES]))
        [socket] = bind_sockets(0, "127.0.0.1")
        server.add_sockets([socket])
        try:
            url = f"http://127.0.0.1:{socket.getsockname()[1]}/reports/{path}"
            return await AsyncHTTPClient().fetch(url, raise_error=False)
        finally:
            server.stop()

    return asyncio.run(ask())


def test_a_page_is_shown_and_what_is_none_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORTS_DIR", str(tmp_path))
    monkeypatch.delenv("REPORTS_PREFIX", raising=False)
    (tmp_path / NAME).parent.mkdir(parents=True)
    (tmp_path / NAME).write_text("a page")
    (tmp_path / NAME).with_suffix(".txt").write_text("no page")
    page = answer(NAME)
    assert (page.code, page.body) == (200, b"a page")
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    for path in (NAME.replace(".html", ".txt"), "green/2019-08/trip_report.html", "../trip_report.html", f"{NAME}/"):
        assert answer(path).code == 404, path


def test_a_bucket_that_is_away_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> bytes:
        raise TargetUnavailable("gs://my-bucket does not answer: check the network")

    monkeypatch.setattr("nyc_taxi.report.shelf.find", away)
    said = answer(NAME)
    assert (said.code, said.body) == (503, b"gs://my-bucket does not answer: check the network")
    assert said.headers["Content-Type"].startswith("text/plain")
