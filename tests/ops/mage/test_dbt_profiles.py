"""A profile of dbt that Mage renders, with a password in it, is nobody else's to read, and not in the checkout."""

import subprocess
import sys
from pathlib import Path

from ops.paths import ROOT
from tests.conftest import process_environment

RENDER = """
import os, stat, sys
from ops.mage import program
program.install()
from mage_ai.data_preparation.models.block.dbt.profiles import Profiles

with Profiles(sys.argv[1]) as profiles:
    folder = profiles.profiles_dir
    assert "only-for-dbt" in open(f"{folder}/profiles.yml").read()
    print(folder, oct(stat.S_IMODE(os.stat(os.path.dirname(folder)).st_mode)))
assert not os.path.exists(folder)
"""


def test_a_rendered_profile_lies_in_a_private_folder(tmp_path: Path) -> None:
    (tmp_path / "profiles.yml").write_text("mine:\n  outputs:\n    dev: { password: \"{{ env_var('SECRET') }}\" }\n")
    places = {"MAGE_DATA_DIR": str(tmp_path / "data"), "SECRET": "only-for-dbt"}
    ran = subprocess.run(
        [sys.executable, "-c", RENDER, tmp_path], cwd=ROOT, env=process_environment() | places,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    folder, mode = ran.stdout.split()[-2:]
    assert folder.startswith(f"{tmp_path}/data/dbt/profiles/")
    assert not list((tmp_path / "data/dbt/profiles").iterdir()), "nothing stays"
    assert mode == "0o700"
