-- A row per service, month and zone of pickup; trips without a zone have pickup_location_id null.
{{ config(**month_by_month()) }}
with trips as (
    select
        service,
        file_month,
        pickup_location_id,
        count(*) as trips,
        sum(passenger_count) as passengers,
        sum(fare_amount) as fares,
        sum(tip_amount) as tips,
        sum(tolls_amount) as tolls,
        sum(total_amount) as revenue,
        sum(trip_distance) as miles,
        avg(trip_distance) as average_miles,
        avg(trip_minutes) as average_minutes
    from {{ ref('fct_trips') }}
    where {{ rows_of_run() }}
    group by service, file_month, pickup_location_id
)
select trips.*, zones.borough, zones.zone
from trips
left join {{ ref('dim_zones') }} as zones on zones.location_id = trips.pickup_location_id
