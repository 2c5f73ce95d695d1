{# The trips of taxis with a meter, a row per trip: names in snake case, codes as words. `prefix` is that of the meter's
   vendor programme; `airport_fee`, where the service has that column. #}
{% macro metered_trips(service, prefix, airport_fee=none) %}
{%- set pickup, dropoff = prefix ~ '_pickup_datetime', prefix ~ '_dropoff_datetime' %}
select
    '{{ service }}' as service,
    trips.file_month,
    {{ hash_of('trip', service ~ '_cab_data') }} as trip_id,
    {{ hash_of('ride', service ~ '_cab_data') }} as ride_id,
    vendors.name as operator,
    trips.{{ pickup }} as pickup_at,
    trips.{{ dropoff }} as dropoff_at,
    trips.pulocationid as pickup_location_id,
    trips.dolocationid as dropoff_location_id,
    trips.passenger_count,
    trips.trip_distance,
    rate_codes.name as rate,
    payment_types.name as payment,
    trips.fare_amount,
    trips.tip_amount,
    trips.tolls_amount,
    {{ airport_fee or 'cast(null as ' ~ dbt.type_float() ~ ')' }} as airport_fee,
    trips.congestion_surcharge,
    trips.cbd_congestion_fee,
    trips.total_amount
from {{ source('trips', service ~ '_cab_data') }} as trips
left join {{ source('reference', 'vendors') }} as vendors on vendors.vendorid = trips.vendorid
left join {{ source('reference', 'rate_codes') }} as rate_codes on rate_codes.ratecodeid = trips.ratecodeid
left join {{ source('reference', 'payment_types') }} as payment_types
    on payment_types.payment_type = trips.payment_type
{% endmacro %}
