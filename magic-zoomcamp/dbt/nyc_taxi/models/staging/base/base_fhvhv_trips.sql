-- High-volume for-hire trips, those of the app companies, a row per trip. What a passenger paid is the sum of its parts.
{%- set no_text = 'cast(null as ' ~ dbt.type_string() ~ ')' %}
{%- set paid = [
    'trips.base_passenger_fare', 'trips.tolls', 'trips.bcf', 'trips.sales_tax', 'trips.congestion_surcharge',
    'trips.airport_fee', 'trips.tips', 'trips.cbd_congestion_fee',
] %}
select
    'fhvhv' as service,
    trips.file_month,
    {{ hash_of('trip', 'fhvhv_trip_data') }} as trip_id,
    {{ hash_of('ride', 'fhvhv_trip_data') }} as ride_id,
    licences.name as operator,
    trips.pickup_datetime as pickup_at,
    trips.dropoff_datetime as dropoff_at,
    trips.pulocationid as pickup_location_id,
    trips.dolocationid as dropoff_location_id,
    cast(null as {{ dbt.type_bigint() }}) as passenger_count,
    trips.trip_miles as trip_distance,
    {{ no_text }} as rate,
    {{ no_text }} as payment,
    trips.base_passenger_fare as fare_amount,
    trips.tips as tip_amount,
    trips.tolls as tolls_amount,
    trips.airport_fee,
    trips.congestion_surcharge,
    trips.cbd_congestion_fee,
    case when trips.base_passenger_fare is not null then
        {%- for amount in paid %} {{ '+ ' if not loop.first }}coalesce({{ amount }}, 0){% endfor %}
    end as total_amount
from {{ source('trips', 'fhvhv_trip_data') }} as trips
left join {{ source('reference', 'fhvhv_licences') }} as licences
    on licences.hvfhs_license_num = trips.hvfhs_license_num
