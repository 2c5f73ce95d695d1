"""What a message is sent to, on this machine."""

import json
from typing import Any

from pytest_httpserver import HTTPServer


class WebhookReceiver(HTTPServer):
    """An HTTP server that keeps every POST, as a Slack webhook would take it; a context manager."""

    def __init__(self) -> None:
        super().__init__(host="127.0.0.1", threaded=True)
        self.expect_request("/hook", method="POST").respond_with_data()

    @property
    def url(self) -> str:
        """Where to post to."""
        return self.url_for("/hook")

    @property
    def received(self) -> list[dict[str, Any]]:
        """The JSON of every message."""
        return [json.loads(request.data) for request, _ in self.log]

    def texts(self) -> list[str]:
        """Every message as one text: the texts of its blocks, a line each."""
        return ["\n".join(block["text"]["text"] for block in m["blocks"] if "text" in block) for m in self.received]
