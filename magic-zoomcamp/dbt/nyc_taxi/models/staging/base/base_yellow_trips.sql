-- Yellow trips, a row per trip.
{{ metered_trips('yellow', 'tpep', airport_fee='trips.airport_fee') }}
