-- Trips by service, month, hour of the day, and the zones of pickup and drop-off.
{{ config(**month_by_month(cluster_by=['service', 'pickup_location_id'])) }}
select
    service,
    file_month,
    cast(extract(hour from pickup_at) as {{ dbt.type_int() }}) as pickup_hour,
    pickup_location_id,
    dropoff_location_id,
    count(*) as trips,
    avg(trip_distance) as average_miles,
    avg(trip_minutes) as average_minutes,
    avg(total_amount) as average_revenue
from {{ ref('fct_trips') }}
where {{ rows_of_run() }}
group by 1, 2, 3, 4, 5
