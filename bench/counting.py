"""A line to a server on this machine that counts the bytes which pass, both ways."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
PIECE = 64 << 10


class CountingLine:
    """Listens on a port of its own while it is open; `bytes` is what passed in both directions so far."""

    def __init__(self, port: int) -> None:
        self.bytes = 0
        self._target = port
        self._lock = threading.Lock()
        self._listener = socket.create_server((HOST, 0))

    @property
    def url(self) -> str:
        """Where a client connects."""
        return f"http://{HOST}:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        """Start to listen."""
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take no more connections; those that are open end with their clients."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((HOST, self._target))
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):  # either end went away
            while piece := source.recv(PIECE):
                with self._lock:
                    self.bytes += len(piece)
                sink.sendall(piece)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
