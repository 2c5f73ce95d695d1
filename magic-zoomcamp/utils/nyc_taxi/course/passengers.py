"""The passenger list of Mage's first example, from the web or generated: every beginner's first pipeline."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import requests

from nyc_taxi.errors import NotPublished

CLEAN_FILE = "titanic_clean.csv"
PUBLISHED = "https://raw.githubusercontent.com/datasciencedojo/datasets/master/titanic.csv"
TIMEOUT_SECONDS = 5


def read_published() -> pd.DataFrame:
    """The published list, 891 rows; requests.RequestException when the web is not there."""
    answer = requests.get(PUBLISHED, timeout=TIMEOUT_SECONDS)
    answer.raise_for_status()
    return pd.read_csv(io.StringIO(answer.text))


def passenger_list(rows: int = 100, seed: int = 1912) -> pd.DataFrame:
    """A synthetic list in the published one's numeric columns; ages in years, a fifth unknown; fares in pounds."""
    rng = np.random.default_rng(seed)
    age = rng.integers(1, 80, rows).astype(float)
    age[rng.random(rows) < 0.2] = np.nan
    return pd.DataFrame(
        {
            "PassengerId": np.arange(1, rows + 1),
            "Survived": rng.integers(0, 2, rows),
            "Pclass": rng.integers(1, 4, rows),
            "Age": age,
            "SibSp": rng.integers(0, 4, rows),
            "Parch": rng.integers(0, 3, rows),
            "Fare": rng.gamma(2.0, 15.0, rows).round(2),
        }
    )


def read_clean(folder: Path) -> pd.DataFrame:
    """The list that example_pipeline cleaned and wrote to the folder; NotPublished when it did not run yet."""
    path = folder / CLEAN_FILE
    if not path.exists():
        raise NotPublished(f"{path} does not exist: run example_pipeline first")
    return pd.read_csv(path)
