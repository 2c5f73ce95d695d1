-- A row per trip of the four services.
{{ config(**month_by_month(cluster_by=['service', 'pickup_location_id'])) }}
with trips as (
    {%- for service in ['yellow', 'green', 'fhv', 'fhvhv'] %}
    select * from {{ ref('base_' ~ service ~ '_trips') }} where {{ rows_of_run() }}
    {{ 'union all' if not loop.last }}
    {%- endfor %}
)
select
    marked.*,
    {{ minutes_between('pickup_at', 'dropoff_at') }} as trip_minutes
from ({{ marked('trips') }}) as marked
