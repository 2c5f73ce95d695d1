"""
Serves trip files on this machine the way the origins do: ETag, ranges, conditional requests, over HTTP/1.1.

    python -m ops.stack.trip_server .local/trips 8099

Point TLC_DTC_BASE_URL at `<url>/dtc` and TLC_PARQUET_BASE_URL at `<url>/trip-data`.
"""

import asyncio
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from ops.paths import HOST

REMEMBERED_REQUESTS = 10_000
LEAVING_SECONDS = 0.1
"""What an answer under way has left, once the server ends."""

Request = tuple[str, str, int]
"""Method, path as asked for, status."""


class TripServer:
    """
    A file server for `folder` on 127.0.0.1, running in a thread while the `with` block lasts.

    `port` 0 takes a free one. Raises OSError when the port is taken.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.port = port
        self._requests: deque[Request] = deque(maxlen=REMEMBERED_REQUESTS)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        listening = socket.create_server((HOST, self.port))
        self.port = listening.getsockname()[1]
        app = web.Application()
        app.add_routes([web.get("/healthz", _healthz), web.get("/{path:.*}", self._file)])
        remember: Any = self._remember  # aiohttp 3.10 gives a signal's receivers a wrong type
        app.on_response_prepare.append(remember)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=LEAVING_SECONDS)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._wait(self._runner.setup())
        self._wait(web.SockSite(self._runner, listening).start())
        return self

    def __exit__(self, *_: object) -> None:
        self._wait(self._runner.cleanup())
        self._wait(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """http://127.0.0.1:port, without a slash at the end."""
        return f"http://{HOST}:{self.port}"

    @property
    def dtc_base_url(self) -> str:
        """Base URL of the csv.gz files, for TLC_DTC_BASE_URL."""
        return f"{self.url}/dtc"

    @property
    def tlc_base_url(self) -> str:
        """Base URL of the Parquet files, for TLC_PARQUET_BASE_URL."""
        return f"{self.url}/trip-data"

    @property
    def requests(self) -> list[Request]:
        """The last 10,000 answered requests, oldest first."""
        return list(self._requests)

    def _wait(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _remember(self, request: web.Request, response: web.StreamResponse) -> None:
        # Before the answer goes out: who has it may ask for `requests` at once.
        self._requests.append((request.method, request.raw_path, response.status))

    async def _file(self, request: web.Request) -> web.StreamResponse:
        """The file that a path names; 404 for a folder, a missing file, or a way out of the served folder."""
        root, path = self.folder.resolve(), request.match_info["path"].lstrip("/")
        file = None if "\0" in path else (root / path).resolve()
        if file is None or not file.is_relative_to(root) or not file.is_file():
            raise web.HTTPNotFound(text=f"no file {request.path}\n")
        return _TripFile(file)


class _TripFile(web.FileResponse):
    """aiohttp heeds If-Range with a date, but not with an ETag: it would send the rest of another file."""

    async def prepare(self, request: web.BaseRequest) -> Any:
        if_range = request.headers.get("If-Range", "")
        if if_range.startswith('"'):
            state = self._path.stat()
            if if_range != f'"{state.st_mtime_ns:x}-{state.st_size:x}"':  # as aiohttp writes it
                whole = {name: value for name, value in request.headers.items() if name.lower() != "range"}
                request = request.clone(headers=whole)
        return await super().prepare(request)


async def _healthz(_: web.Request) -> web.Response:
    return web.Response(text="ok")


def serve(folder: Path, port: int) -> None:
    """Serve `folder` in the foreground until SIGTERM or SIGINT; call it from the main thread."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with TripServer(folder, port) as server:
        print(f"serving {folder} at {server.url}", flush=True)
        stop.wait()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
