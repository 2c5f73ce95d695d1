"""
Google Cloud Storage on this machine: the pip package gcp-storage-emulator, with its weak parts replaced.

Run with the emulators' own Python (see `ops/stack/google.py`):  python -m ops.emulators.gcs FOLDER PORT [ADDRESS]

The package's routes, buckets, resources, globs and batches are used as they are. What objects are made of is ours:
requests are answered in threads; content goes from socket to file and from file to socket in blocks; an object changes
in one step, after its preconditions were checked, and survives SIGKILL at any moment. Objects are plain files in
FOLDER/.cloudstorage/BUCKET, so that the BigQuery emulator, and a person, can read them there.

Limits: `a` and `a/b` cannot both be objects, as they could not be files; deleted objects cannot be restored; uploads
under way end with the server.
"""

import re
import socketserver
import sys
import traceback
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from gcp_storage_emulator import server
from gcp_storage_emulator.exceptions import BadRequest, Conflict, NotFound
from gcp_storage_emulator.handlers import buckets, objects

from ops.emulators import gcs_answers as answers
from ops.emulators import gcs_uploads as uploads
from ops.emulators.gcs_requests import Refused, Request, Response
from ops.emulators.gcs_store import Store

HOST = "127.0.0.1"
Answer = Callable[[Request, Response, Store], None]

OURS: dict[Callable[..., None], Answer] = {
    buckets.get: answers.get_bucket,
    buckets.insert: answers.insert_bucket,
    objects.insert: uploads.insert,
    objects.upload_partial: uploads.add_chunk,
    objects.xml_upload: uploads.xml_upload,
    objects.get: answers.get,
    objects.download: answers.download,
    objects.ls: answers.ls,
    objects.patch: answers.patch,
    objects.delete: answers.delete,
    objects.copy: answers.copy,
    objects.rewrite: answers.rewrite,
    objects.compose: answers.compose,
}
"""What takes the place of the package's own."""


def locked(answer: Answer) -> Answer:
    """One of the package's answers, which know no threads."""

    def answer_alone(request: Request, response: Response, store: Store) -> None:
        _ = request.data  # read before the lock is taken
        with store.lock:
            answer(request, response, store)

    return answer_alone


def routes() -> list[tuple[re.Pattern[str], dict[str, Answer]]]:
    """Paths and methods, the package's and ours."""
    found: list[tuple[re.Pattern[str], dict[str, Answer]]] = [
        (re.compile("/token"), {"POST": answers.token}),
        (re.compile("/healthz"), {"GET": answers.health}),
    ]
    for pattern, methods in server.HANDLERS:
        by_method = {method: OURS.get(answer) or locked(answer) for method, answer in methods.items()}
        if objects.upload_partial in methods.values():
            by_method["DELETE"] = uploads.cancel
        if objects.patch in methods.values():
            by_method["PUT"] = answers.patch
        found.append((re.compile(pattern), by_method))
    return found


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    server_version = "gcs-emulator"
    wbufsize = -1  # head and body in one packet
    disable_nagle_algorithm = True
    server: "Server"

    def _answer(self) -> None:
        request = Request(self, self.headers.get("X-HTTP-Method-Override") or self.command)
        response = Response(self)
        try:
            self._route(request, response)
            for _ in request.incoming:  # what nobody read is not the next request
                pass
            response.close()
        except ConnectionError:
            self.close_connection = True  # the client left in the middle, as clients do

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def _route(self, request: Request, response: Response) -> None:
        try:
            answer = self.server.find(request)
            answer(request, response, self.server.store)
        except ConnectionError:
            raise
        except Refused as refused:
            response.refuse(refused.status, str(refused), refused.reason)
        except NotFound as error:
            response.refuse(HTTPStatus.NOT_FOUND, str(error) or "not found", "notFound")
        except Exception as error:  # noqa: BLE001  # Google's clients repeat a request for minutes after a 5xx
            if not isinstance(error, BadRequest | Conflict):
                traceback.print_exc()
            response.refuse(HTTPStatus.BAD_REQUEST, f"{type(error).__name__}: {error}")

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: the log is for what goes wrong."""


class Server(ThreadingHTTPServer):
    """Listens on 127.0.0.1, or on the address it is given."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, store: Store, address: str = HOST) -> None:
        self.store = store
        self._routes = routes()
        super().__init__((address, port), Handler)

    def server_bind(self) -> None:
        """Without the look-up of our own name, which can wait for a name server."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def find(self, request: Request) -> Answer:
        """Who answers a request."""
        for pattern, by_method in self._routes:
            if match := pattern.fullmatch(request.path):
                request.set_match(match)
                if answer := by_method.get(request.method):
                    return answer
                break
        raise Refused(HTTPStatus.NOT_IMPLEMENTED, f"the emulator does not know {request.method} {request.path}")


def main() -> None:
    """Read the command line and serve until a signal ends the process, which may be any: nothing is lost."""
    folder, port, *address = sys.argv[1:]
    Server(int(port), Store(Path(folder).resolve()), *address).serve_forever()


if __name__ == "__main__":
    main()
