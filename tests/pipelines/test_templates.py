"""Block templates: what a person starts from who adds a block in the UI."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from nyc_taxi.settings import PostgresSettings

from ops.commands import run
from ops.paths import PROJECT, ROOT
from ops.stack.trip_server import TripServer
from ops.synthetic.generate import generate
from tests.conftest import sql

TEMPLATES = PROJECT / "custom_templates" / "blocks"
NAMES = ("month_loader", "month_transformer", "month_exporter", "month_check")


def test_every_template_has_its_file_a_title_and_a_description() -> None:
    assert sorted(path.name for path in TEMPLATES.iterdir()) == sorted(NAMES)
    for name in NAMES:
        text = (TEMPLATES / name / "metadata.yaml").read_text()
        metadata = yaml.safe_load(text)
        assert yaml.safe_dump(metadata) == text, "in the form that Mage itself writes"
        code = (TEMPLATES / name / f"{name}.py").read_text()
        assert f"\n@{metadata['block_type']}\ndef {name}(" in code
        assert "\n@test\n" in code
        assert len(metadata["name"]) > 10
        assert len(metadata["description"]) > 40


@pytest.mark.mage
def test_a_pipeline_made_of_nothing_but_templates_loads_a_month(
    env: dict[str, str],
    trips: TripServer,
    database: PostgresSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generate("green", "2020-10", "dtc", 2_000, trips.folder)
    project = tmp_path / PROJECT.name
    shutil.copytree(PROJECT, project)
    command = [sys.executable, "-m", "tests.pipelines.from_templates", str(project), "from_templates", *NAMES]
    made = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr[-2_000:]
    for folder, name in zip(("data_loaders", "transformers", "data_exporters", "custom"), NAMES, strict=True):
        assert (project / folder / f"my_{name}.py").read_text() == (TEMPLATES / name / f"{name}.py").read_text()

    monkeypatch.setattr(run, "PROJECT", project)
    run.run_pipeline("from_templates", {"service": "green", "month": "2020-10"}, env)
    tables = ("green_cab_data", "green_cab_data_rejected")
    counts = [sql(database, f"SELECT count(*) FROM ny_taxi.{table}")[0][0] for table in tables]
    assert sum(int(str(count)) for count in counts) == 2_000
