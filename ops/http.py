"""HTTP to servers of ours, on this machine or another."""

import requests

from ops.paths import HOST


def session_to(url: str) -> requests.Session:
    """A session for the server at `url`, to be closed; a proxy of the environment is not asked for this machine."""
    session = requests.Session()
    session.trust_env = not url.startswith((f"http://{HOST}:", "http://localhost:"))
    return session
