-- The taxi zones; of the two that are no place, what TLC calls them.
{{ config(materialized='incremental', unique_key='location_id') }}
select
    location_id,
    case when borough = 'N/A' then 'Unknown' else borough end as borough,
    case when zone = 'N/A' then borough else zone end as zone,
    nullif(service_zone, 'N/A') as service_zone,
    service_zone in ('Airports', 'EWR') as is_airport
from {{ source('reference', 'taxi_zones') }}
