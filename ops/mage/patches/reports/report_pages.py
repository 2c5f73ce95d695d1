"""
The pages of trip_report can be opened where Mage is: /reports/<service>/<month>/trip_report.html.

Fault: Mage's server shows no file that a block has written. On a server, a report is a path that nobody can open.

Patch: one route more, for whoever has signed in and may look at runs. It serves pages and pictures below REPORTS_DIR
and those of the bucket (REPORTS_PREFIX), nothing else; no script runs there.
"""

from types import ModuleType
from typing import Any

from tornado.web import HTTPError, RequestHandler

UPSTREAM = "none filed"
MODULE = "mage_ai.server.server"
NO_SCRIPT = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
ROUTES = (r"/reports/([a-z_]+\.[a-z]+)", r"/reports/([a-z]+/[a-z0-9-]+/[a-z_]+\.[a-z]+)")


def is_needed(server: ModuleType) -> bool:
    """Whether Mage has no such route."""
    return not hasattr(server, "ReportPageHandler")


def apply(server: Any) -> None:
    """Add the route."""
    make_app = server.make_app

    def make_app_with_reports(*args: Any, **given: Any) -> Any:
        application = make_app(*args, **given)
        application.wildcard_router.add_rules([(route, ReportPageHandler) for route in ROUTES])
        return application

    server.make_app = make_app_with_reports


def _read(name: str) -> bytes | None:
    """
    The page's bytes, read in a thread that is not known as the request's.

    To a request, files_outside_project refuses what is no file of the project; here route and `find` have seen to it.
    """
    from nyc_taxi.report.shelf import find
    from nyc_taxi.settings import Settings

    from ops.mage.front_door import HANDLED

    HANDLED.set(None)
    return find(name, Settings.from_environment())


class ReportPageHandler(RequestHandler):
    """One page or picture; who may ask is decided before, by the role: ops/mage/access/roles.py."""

    async def get(self, name: str) -> None:
        """Answer with the page."""
        import asyncio

        from nyc_taxi.errors import TaxiError
        from nyc_taxi.report.shelf import TYPES
        from nyc_taxi.settings import without_secrets

        kind = TYPES.get(name[name.rindex(".") :])
        try:
            found = await asyncio.to_thread(_read, name) if kind else None
        except TaxiError as error:  # the bucket is away, or may not be read
            self.set_status(503)
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            await self.finish(without_secrets(str(error)))
            return
        if found is None:
            raise HTTPError(404)
        self.set_header("Content-Type", str(kind))
        self.set_header("Content-Security-Policy", NO_SCRIPT)
        self.set_header("X-Content-Type-Options", "nosniff")
        await self.finish(found)
