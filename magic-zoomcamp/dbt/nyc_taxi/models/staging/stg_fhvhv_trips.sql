select
    *,
    {{- marks() }}
from {{ ref('base_fhvhv_trips') }}
