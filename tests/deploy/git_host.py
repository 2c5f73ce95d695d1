"""A git host on this machine: one bare repository over HTTP, behind a token, through git's own CGI program."""

import base64
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ops.paths import PROJECT
from tests.project_copy import copy_project

TOKEN = "a-token-that-nobody-may-see"
# A project of one pipeline, to be quick.
SMALL = (
    "metadata.yaml",
    "io_config.yaml",
    "pipelines/example_pipeline",
    "data_loaders/load_titanic.py",
    "transformers/fill_in_missing_values.py",
    "data_exporters/export_titanic_clean.py",
)
WHO = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]


class GitHost:
    """Serves `folder/taxi.git`; `folder/work` is a person's clone of it, to push from. A context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.asked_without_token = 0
        self.serves_files = threading.Event()
        self.serves_files.set()
        folder.mkdir(parents=True)
        self.git("init", "-q", "--bare", "-b", "main", "taxi.git", cwd=folder)
        self.git("config", "http.receivepack", "true", cwd=folder / "taxi.git")
        self.git("clone", "-q", "taxi.git", "work", cwd=folder)
        self.git("checkout", "-q", "-B", "main")
        self._server = self._listen(0)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """What GIT_REPO_LINK would say."""
        return f"http://127.0.0.1:{self.port}/taxi.git"

    def push(self, message: str, force: bool = False) -> str:
        """Commit everything in `work` and push it; the commit."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        self.git("push", "-q", *(["--force"] if force else []), "origin", "main")
        return self.git("rev-parse", "HEAD")

    def rewrite(self, message: str) -> str:
        """Replace the whole history by one commit of the files of `work`; the commit."""
        self.git("update-ref", "-d", "HEAD")
        return self.push(message, force=True)

    def add_project(self, *files: str) -> str:
        """Put this project there as it is here, or only some files of it; the commit."""
        wanted = [f"{PROJECT.name}/{name}" for name in files] or [PROJECT.name]
        copy_project(self.work, "requirements.txt", ".gitignore", ".gitattributes", *wanted)
        return self.push("The project")

    def edit(self, name: str, old: str, new: str) -> None:
        """Change a file of `work`."""
        path = self.work / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def stall(self) -> None:
        """Still say which commits there are, and send none of them."""
        self.serves_files.clear()

    def take_down(self) -> None:
        """Answer nobody any more."""
        self.serves_files.set()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> "GitHost":
        return self

    def __exit__(self, *_: object) -> None:
        self.take_down()

    def git(self, *arguments: str, cwd: Path | None = None) -> str:
        """Git in `work`, or in another folder; what it prints."""
        command = ["git", *WHO, *arguments]
        return subprocess.run(
            command, cwd=cwd or self.work, capture_output=True, text=True, check=True, timeout=60
        ).stdout.strip()

    def _listen(self, port: int) -> ThreadingHTTPServer:
        host = self
        expected = "Basic " + base64.b64encode(f"git:{TOKEN}".encode()).decode()

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Transfer-Encoding") == "chunked":
                    body = self._chunks()
                if self.headers.get("Authorization") != expected:
                    host.asked_without_token += 1
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="git"')
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                if b"command=fetch" in body:
                    host.serves_files.wait()
                path, _, query = self.path.partition("?")
                asked = {
                    "PATH": os.environ["PATH"],
                    "GIT_PROJECT_ROOT": str(host.folder),
                    "GIT_HTTP_EXPORT_ALL": "1",
                    "PATH_INFO": path,
                    "QUERY_STRING": query,
                    "REQUEST_METHOD": self.command,
                    "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                    "CONTENT_LENGTH": str(len(body)),
                    "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                    "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                    "REMOTE_USER": "tests",
                }
                ran = subprocess.run(["git", "http-backend"], input=body, env=asked, capture_output=True, check=True)
                head, _, content = ran.stdout.partition(b"\r\n\r\n")
                headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
                self.send_response(int(headers.pop("Status", "200 OK").split()[0]))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = _answer

            def _chunks(self) -> bytes:
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def log_message(self, *_: object) -> None:
                """Nothing: the test says what it finds."""

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server
