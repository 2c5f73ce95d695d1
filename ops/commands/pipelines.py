"""The pipelines that a command may name, and what a run of one may be given: checked before anything starts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from nyc_taxi.errors import UnknownName, not_one_of

from ops.paths import PROJECT

if TYPE_CHECKING:
    from ops.mage.api import MageApi

Variables = dict[str, Any]
EXECUTION_DATE = "execution_date"
"""Every run has one, whatever its pipeline declares."""


class Pipelines(Protocol):
    """Where pipelines are known."""

    def names(self) -> list[str]:
        """All of them."""

    def variables(self, name: str) -> Variables:
        """What one declares, with the values that a run has when it is given none."""


@dataclass(frozen=True)
class Checkout:
    """The pipelines of the files here, those that a person has added too."""

    project: Path = field(default_factory=lambda: PROJECT)

    def names(self) -> list[str]:
        """Every folder that holds one."""
        return sorted(path.parent.name for path in self.project.glob("pipelines/*/metadata.yaml"))

    def described(self, name: str) -> Variables:
        """Its metadata.yaml; UnknownName when there is none."""
        import yaml

        refuse_unknown_pipeline(name, self)
        text = (self.project / "pipelines" / name / "metadata.yaml").read_text(encoding="utf-8")
        described: Variables = yaml.safe_load(text)
        return described

    def variables(self, name: str) -> Variables:
        """What its metadata.yaml declares."""
        return dict(self.described(name).get("variables") or {})


@dataclass(frozen=True)
class Served:
    """The pipelines of a Mage that answers, those that a person has made in its UI too."""

    api: "MageApi"

    def names(self) -> list[str]:
        """As Mage lists them."""
        return sorted(pipeline["uuid"] for pipeline in self.api.list("pipelines"))

    def variables(self, name: str) -> Variables:
        """As Mage has read them."""
        return dict(self.api.get("pipelines", name)["variables"] or {})


def refuse_unknown_pipeline(name: str, pipelines: Pipelines) -> None:
    """UnknownName, with those that there are."""
    if name not in (names := pipelines.names()):
        raise UnknownName(not_one_of("pipeline", name, names))


def refuse_undeclared(pipeline: str, given: Iterable[str], declared: Mapping[str, object]) -> None:
    """UnknownName for a variable that the pipeline does not have: Mage would take it and nobody would read it."""
    for name in given:
        if name not in declared and name != EXECUTION_DATE:
            if not declared:
                raise UnknownName(f"{pipeline} has no variables: leave {name} out, or add it in the editor (Variables)")
            raise UnknownName(f"{pipeline}: {not_one_of('variable', name, sorted(declared))}")


def refuse_unknown_values(variables: Mapping[str, object]) -> None:
    """
    UnknownName if a run with these variables would refuse them: the library's own word, without a run.

    A pipeline without an origin reads the lake. One without service and month is judged by what it has.
    """
    from nyc_taxi.catalog.origins import origin_named
    from nyc_taxi.catalog.services import service_named
    from nyc_taxi.run import execution_day, is_forced, longest_wait, run_context, service_and_month
    from nyc_taxi.settings import Settings

    dated = {EXECUTION_DATE: datetime.now(UTC), **variables}
    if {"service", "month"} <= variables.keys():
        if "origin" in variables:
            run_context(dated, Settings.from_environment({}))
        else:
            service_and_month(dated)
    else:
        for name, known in (("service", service_named), ("origin", origin_named)):
            if variables.get(name):
                known(str(variables[name]))
    if variables.get(EXECUTION_DATE):
        execution_day({EXECUTION_DATE: variables[EXECUTION_DATE]})
    is_forced(variables)
    longest_wait(variables)
