-- For-hire trips, a row per trip. TLC publishes neither distance nor fare for them.
{%- set no_text = 'cast(null as ' ~ dbt.type_string() ~ ')' %}
{%- set no_real = 'cast(null as ' ~ dbt.type_float() ~ ')' %}
select
    'fhv' as service,
    file_month,
    {{ hash_of('trip', 'fhv_trip_data') }} as trip_id,
    {{ hash_of('ride', 'fhv_trip_data') }} as ride_id,
    dispatching_base_num as operator,
    pickup_datetime as pickup_at,
    dropoff_datetime as dropoff_at,
    pulocationid as pickup_location_id,
    dolocationid as dropoff_location_id,
    cast(null as {{ dbt.type_bigint() }}) as passenger_count,
    {{ no_real }} as trip_distance,
    {{ no_text }} as rate,
    {{ no_text }} as payment,
    {{ no_real }} as fare_amount,
    {{ no_real }} as tip_amount,
    {{ no_real }} as tolls_amount,
    {{ no_real }} as airport_fee,
    {{ no_real }} as congestion_surcharge,
    {{ no_real }} as cbd_congestion_fee,
    {{ no_real }} as total_amount
from {{ source('trips', 'fhv_trip_data') }} as trips
