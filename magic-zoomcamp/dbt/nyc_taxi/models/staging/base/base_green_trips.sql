-- Green trips, a row per trip.
{{ metered_trips('green', 'lpep') }}
