select
    *,
    {{- marks() }}
from {{ ref('base_fhv_trips') }}
