-- Duration and speed by service, month and hour of pickup, of trips that took between a minute and a day.
{{ config(**month_by_month()) }}
select
    service,
    file_month,
    cast(extract(hour from pickup_at) as {{ dbt.type_int() }}) as pickup_hour,
    count(*) as trips,
    avg(trip_minutes) as average_minutes,
    sum(trip_distance) / nullif(sum(case when trip_distance is not null then trip_minutes end) / 60, 0) as miles_per_hour
from {{ ref('fct_trips') }}
where {{ rows_of_run() }} and trip_minutes between 1 and 1440
group by 1, 2, 3
