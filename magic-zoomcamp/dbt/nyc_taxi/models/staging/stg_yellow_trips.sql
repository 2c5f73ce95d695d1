select
    *,
    {{- marks() }}
from {{ ref('base_yellow_trips') }}
