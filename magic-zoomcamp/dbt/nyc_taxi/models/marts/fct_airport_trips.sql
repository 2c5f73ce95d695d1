-- Trips to and from the airports by service and month; a trip between two of them is in both rows.
{{ config(**month_by_month()) }}
{%- for direction, zone in [('from', 'pickup_location_id'), ('to', 'dropoff_location_id')] %}
select
    trips.service,
    trips.file_month,
    zones.zone as airport,
    '{{ direction }}' as direction,
    count(*) as trips,
    avg(trips.trip_minutes) as average_minutes,
    avg(trips.total_amount) as average_revenue,
    sum(trips.airport_fee) as airport_fees
from {{ ref('fct_trips') }} as trips
inner join {{ ref('dim_zones') }} as zones on zones.location_id = trips.{{ zone }} and zones.is_airport
where {{ rows_of_run() }}
group by 1, 2, 3, 4
{{ 'union all' if not loop.last }}
{%- endfor %}
