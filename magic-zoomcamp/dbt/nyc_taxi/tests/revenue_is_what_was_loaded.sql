-- Conservation up to the last table: trips, fares, miles and revenue by service and month are those that were loaded.
-- In Postgres, load_audit has them, as each load counted them; in BigQuery, the trips themselves are asked.
-- depends_on: {{ ref('fct_monthly_zone_revenue') }}
with marts as (
    select
        service, file_month, sum(trips) as trips, sum(fares) as fares, sum(miles) as miles, sum(revenue) as revenue
    from {{ ref('fct_monthly_zone_revenue') }}
    where {{ in_month_of_run() }}
    group by service, file_month
),

loaded as ({{ loaded_sums() }})

select
    coalesce(loaded.service, marts.service) as service,
    coalesce(loaded.file_month, marts.file_month) as file_month,
    loaded.trips as trips_loaded,
    marts.trips,
    loaded.fares as fares_loaded,
    marts.fares,
    loaded.miles as miles_loaded,
    marts.miles,
    loaded.revenue as revenue_loaded,
    marts.revenue
from loaded
full outer join marts on marts.service = loaded.service and marts.file_month = loaded.file_month
where coalesce(loaded.trips, 0) <> coalesce(marts.trips, 0)
    -- Half a cent: the sums are made in another order.
    or abs(loaded.fares - coalesce(marts.fares, 0)) > 0.005
    or abs(loaded.miles - coalesce(marts.miles, 0)) > 0.005
    or abs(loaded.revenue - coalesce(marts.revenue, 0)) > 0.005
