"""
Values of synthetic trips that behave like the real ones: shares, sums, strays and gaps as TLC publishes them.

Nothing here reads or writes a file. All values follow from the plan of a file and the number of a chunk, so that
any chunk can be made alone and a file of any size needs the memory of one chunk.
"""

import pyarrow as pa

from ops.synthetic import eras
from ops.synthetic.for_hire import fhv, fhvhv
from ops.synthetic.plan import Plan
from ops.synthetic.taxi import taxi


def make_chunk(plan: Plan, chunk: int, first: int, rows: int) -> pa.Table:
    """Rows `first <= position < first + rows` of the file, in the columns and types of its era."""
    makers = {"yellow": taxi, "green": taxi, "fhv": fhv, "fhvhv": fhvhv}
    values = makers[plan.service](plan, plan.rng(1 + chunk), first, rows)
    arrays = [
        # Columns without a maker (null-typed ones, ehail_fee) are empty in the real files too.
        values[eras.meaning(field.name)].cast(field.type)
        if eras.meaning(field.name) in values and not pa.types.is_null(field.type)
        else pa.nulls(rows, field.type)
        for field in plan.schema
    ]
    return pa.Table.from_arrays(arrays, schema=plan.schema)
