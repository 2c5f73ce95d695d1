"""The server itself: it starts on Postgres, refuses strangers and knows every pipeline."""

import pytest

from ops.mage.api import MageApi, MageApiError
from ops.mage.owner import EMAIL as OWNER_EMAIL
from ops.mage.server import METADATA_DATABASE
from tests.conftest import sql
from tests.server.conftest import Mage


def test_it_keeps_its_metadata_in_a_database_of_its_own(mage: Mage) -> None:
    assert mage.api.list("users")[0]["email"] == OWNER_EMAIL
    assert sql(mage.database, f"SELECT 1 FROM pg_database WHERE datname = '{METADATA_DATABASE}'") == [(1,)]
    assert sql(mage.database, "SELECT to_regclass('public.pipeline_run')") == [(None,)]


def test_a_wrong_password_is_refused(mage: Mage) -> None:
    with pytest.raises(MageApiError, match="/api/sessions"):
        MageApi(mage.server.url, OWNER_EMAIL, "admin").list("pipelines")


def test_every_pipeline_is_listed_without_an_error(mage: Mage) -> None:
    listed = {pipeline["uuid"] for pipeline in mage.api.list("pipelines")}
    assert listed == {path.parent.name for path in mage.checkout.glob("magic-zoomcamp/pipelines/*/metadata.yaml")}
