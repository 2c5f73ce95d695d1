"""A mail server on this machine that keeps what it is sent."""

import socketserver
import threading
from email import message_from_bytes, policy
from email.message import EmailMessage


class MailReceiver:
    """An SMTP server without accounts; a context manager."""

    def __init__(self) -> None:
        self.received: list[EmailMessage] = []
        self.envelopes: list[list[str]] = []
        """Of each message the sender and the receivers that were named to the server."""
        owner = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 ready\r\n")
                envelope: list[str] = []
                while line := self.rfile.readline().decode().strip():
                    command = line[:4].upper()
                    if command in ("MAIL", "RCPT"):
                        envelope.append(line[line.index("<") + 1 : line.index(">")])
                    if command == "DATA":
                        self.wfile.write(b"354 go on\r\n")
                        text = b"".join(iter(self.rfile.readline, b".\r\n"))
                        message = message_from_bytes(text, policy=policy.default)
                        assert isinstance(message, EmailMessage)
                        owner.received.append(message)
                        owner.envelopes.append(envelope)
                    self.wfile.write(b"221 bye\r\n" if command == "QUIT" else b"250 fine\r\n")

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        port: int = self._server.server_address[1]
        return port

    def __enter__(self) -> "MailReceiver":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
