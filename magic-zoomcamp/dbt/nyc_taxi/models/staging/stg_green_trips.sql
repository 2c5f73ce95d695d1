select
    *,
    {{- marks() }}
from {{ ref('base_green_trips') }}
