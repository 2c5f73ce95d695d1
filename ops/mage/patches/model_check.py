"""
A block's output is known to be no model of scikit-learn without loading scikit-learn.

Fault: Mage asks of the output of each block whether it is such a model, and imports scikit-learn, and with it scipy,
to find out: 0.2 s of CPU for an output that is a number or a list.

Patch: while scikit-learn is not loaded, only what says of itself that it is a classifier or a regressor is asked.
"""

import inspect
import sys
from types import ModuleType
from typing import Any

UPSTREAM = "none filed"
MODULE = "mage_ai.shared.complex"


def is_needed(complex_: ModuleType) -> bool:
    """Whether the question imports the package."""
    source = inspect.getsource(complex_.is_model_sklearn)
    return "from sklearn" in source and "sys.modules" not in source


def apply(complex_: Any) -> None:
    """Put a look at what is loaded before the question."""
    ask = complex_.is_model_sklearn

    def is_model_sklearn(data: Any) -> bool:
        # Other packages' models, such as CatBoost's, say what they are by these, with scikit-learn or without.
        says = any(hasattr(data, name) for name in ("_estimator_type", "__sklearn_tags__"))
        return ("sklearn" in sys.modules or says) and bool(ask(data))

    complex_.is_model_sklearn = is_model_sklearn
