"""
The page of a user opens, and a password that was changed is said to be.

Fault: Mage looks for a user's permissions with `from_self`, which SQLAlchemy has no more since version 2. Who looks at
a user, or changes one, sees an error, although the change was made.

Patch: Mage's queries get a `from_self` that does what it needs: a query of the query's result.
"""

import inspect
from importlib import import_module
from types import ModuleType
from typing import Any

UPSTREAM = "none filed"
MODULE = "mage_ai.orchestration.db.cache"


def is_needed(cache: ModuleType) -> bool:
    """Whether Mage calls what its queries do not have."""
    oauth = import_module("mage_ai.orchestration.db.models.oauth")
    return not hasattr(cache.CachingQuery, "from_self") and ".from_self()" in inspect.getsource(oauth)


def apply(cache: ModuleType) -> None:
    """Add what is missing."""
    from sqlalchemy.sql.util import ClauseAdapter

    def from_self(query: Any) -> Any:
        inner = query.subquery()
        outer = query.session.query(*inner.c)
        narrow, to_inner = outer.filter, ClauseAdapter(inner).traverse
        outer.filter = lambda *conditions: narrow(*map(to_inner, conditions))
        return outer

    cache.CachingQuery.from_self = from_self
