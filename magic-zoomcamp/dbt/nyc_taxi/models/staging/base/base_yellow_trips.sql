-- Yellow trips, a row per trip: names in snake case, codes as words.
select
    'yellow' as service,
    trips.file_month,
    {{ trip_id([
        "'yellow'", 'trips.vendorid', 'trips.tpep_pickup_datetime', 'trips.tpep_dropoff_datetime', 'trips.pulocationid',
        'trips.dolocationid', 'trips.passenger_count', 'trips.trip_distance', 'trips.ratecodeid', 'trips.payment_type',
        'trips.fare_amount', 'trips.tip_amount', 'trips.tolls_amount', 'trips.total_amount',
    ]) }} as trip_id,
    vendors.name as operator,
    trips.tpep_pickup_datetime as pickup_at,
    trips.tpep_dropoff_datetime as dropoff_at,
    trips.pulocationid as pickup_location_id,
    trips.dolocationid as dropoff_location_id,
    trips.passenger_count,
    trips.trip_distance,
    rate_codes.name as rate,
    payment_types.name as payment,
    trips.fare_amount,
    trips.tip_amount,
    trips.tolls_amount,
    trips.airport_fee as airport_fee,
    trips.congestion_surcharge,
    trips.cbd_congestion_fee,
    trips.total_amount
from {{ source('trips', 'yellow_cab_data') }} as trips
left join {{ source('reference', 'vendors') }} as vendors on vendors.vendorid = trips.vendorid
left join {{ source('reference', 'rate_codes') }} as rate_codes on rate_codes.ratecodeid = trips.ratecodeid
left join {{ source('reference', 'payment_types') }} as payment_types
    on payment_types.payment_type = trips.payment_type
