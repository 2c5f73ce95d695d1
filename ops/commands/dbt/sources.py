"""The trip and reference tables as dbt knows them: models/sources.yml, written from the catalog."""

from collections.abc import Iterable
from typing import Any

import yaml
from nyc_taxi.catalog.columns import Column
from nyc_taxi.catalog.references import REFERENCES
from nyc_taxi.catalog.services import SERVICES, Service

from ops.paths import PROJECT

DBT_PROJECT = PROJECT / "dbt" / "nyc_taxi"
SOURCES = DBT_PROJECT / "models" / "sources.yml"
HEADER = "# Written from nyc_taxi.catalog: python -m ops.commands.dbt.sources\n"
SCHEMA = (
    "{{ env_var('BIGQUERY_DATASET', 'ny_taxi') if target.type == 'bigquery' "
    "else env_var('POSTGRES_SCHEMA', 'ny_taxi') }}"
)
ON_POSTGRES = "{{ target.type == 'postgres' }}"
"""What is in Postgres only: who is asked for it elsewhere is told so by dbt."""


class _Plain(yaml.SafeDumper):
    """Writes what occurs twice twice."""

    def ignore_aliases(self, data: object) -> bool:
        """No anchors."""
        return True


def sources_yml() -> str:
    """The text of models/sources.yml."""
    trips = [
        _table(service.table, service.about, service.columns)
        | {"columns": [*_columns(service.columns), _FILE_MONTH], "config": {"meta": _identity(service)}}
        for service in SERVICES.values()
    ]
    references = [_table(each.name, each.description, each.columns) for each in REFERENCES.values()]
    audit = {
        "name": "load_audit",
        "description": "A row per month that was loaded into Postgres, and per block of a run that failed",
        "loaded_at_field": "loaded_at",
        "config": {
            "enabled": ON_POSTGRES,
            "freshness": {
                "warn_after": {"count": 45, "period": "day"},
                "filter": "status = 'loaded'",
            },
        },
    }
    sources = [
        {"name": name, "schema": SCHEMA, "tables": tables}
        for name, tables in (("trips", trips), ("reference", references), ("operation", [audit]))
    ]
    return HEADER + yaml.dump({"version": 2, "sources": sources}, Dumper=_Plain, sort_keys=False, width=110)


_FILE_MONTH = {"name": "file_month", "description": "first day of the month of the trip file"}


def _table(name: str, about: str, columns: Iterable[Column]) -> dict[str, Any]:
    return {"name": name, "description": about, "columns": _columns(columns)}


def _identity(service: Service) -> dict[str, list[str]]:
    """What tells a trip from all others, and, whatever was paid, a ride: as the rules of twins have it."""
    trip = service.identity or tuple(service.schema.names)
    ride = [name for name in trip if name not in service.amounts]
    return {"trip": [name.lower() for name in trip], "ride": [name.lower() for name in ride]}


def _columns(columns: Iterable[Column]) -> list[dict[str, str]]:
    return [{"name": column.name.lower(), "description": column.full_description} for column in columns]


if __name__ == "__main__":
    SOURCES.write_text(sources_yml())
