-- Tips by service, month, payment and borough of pickup. Meters know card tips only.
{{ config(**month_by_month()) }}
select
    trips.service,
    trips.file_month,
    trips.payment,
    zones.borough,
    count(*) as trips,
    sum(case when trips.tip_amount > 0 then 1 else 0 end) as trips_with_tip,
    sum(trips.tip_amount) as tips,
    sum(trips.tip_amount) / nullif(sum(trips.fare_amount), 0) as tips_per_fare
from {{ ref('fct_trips') }} as trips
left join {{ ref('dim_zones') }} as zones on zones.location_id = trips.pickup_location_id
where {{ rows_of_run() }}
group by 1, 2, 3, 4
