-- What trips paid for congestion: New York State's surcharge, and the MTA's fee for its zone, since 2025-01.
{{ config(**month_by_month()) }}
select
    service,
    file_month,
    count(*) as trips,
    sum(case when congestion_surcharge > 0 then 1 else 0 end) as trips_with_surcharge,
    sum(congestion_surcharge) as congestion_surcharges,
    sum(case when cbd_congestion_fee > 0 then 1 else 0 end) as trips_in_zone,
    sum(cbd_congestion_fee) as cbd_congestion_fees
from {{ ref('fct_trips') }}
where {{ rows_of_run() }}
group by 1, 2
