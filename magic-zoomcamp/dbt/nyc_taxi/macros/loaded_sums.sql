{# What was loaded of each service and month of the run: trips, and those sums that the target knows of. #}
{% macro loaded_sums() %}{{ return(adapter.dispatch('loaded_sums')()) }}{% endmacro %}

{# Of each service its table, and the columns of fare, miles and what was paid, where the files have them. #}
{% macro amounts_of_services() %}
    {{ return({
        'yellow': ('yellow_cab_data', 'fare_amount', 'trip_distance', 'total_amount'),
        'green': ('green_cab_data', 'fare_amount', 'trip_distance', 'total_amount'),
        'fhv': ('fhv_trip_data', none, none, none),
        'fhvhv': ('fhvhv_trip_data', 'base_passenger_fare', 'trip_miles', none),
    }) }}
{% endmacro %}

{% macro postgres__loaded_sums() %}
    select distinct on (service, file_month)
        service,
        file_month,
        rows_accepted as trips,
        (sums ->> 'base_passenger_fare')::double precision as fares,
        coalesce(sums ->> 'trip_distance', sums ->> 'trip_miles')::double precision as miles,
        (sums ->> 'total_amount')::double precision as revenue
    from {{ source('operation', 'load_audit') }} as audit
    where status = 'loaded' and {{ in_month_of_run() }}
        -- A month that somebody took out of its table since is no month that was lost on the way.
        and case service
            {%- for service, (table, _, _, _) in amounts_of_services().items() %}
            when '{{ service }}' then exists (
                select from {{ source('trips', table) }} as trips where trips.file_month = audit.file_month
            )
            {%- endfor %}
            else false
        end
    order by service, file_month, load_id desc
{% endmacro %}

{% macro bigquery__loaded_sums() %}
    {%- for service, (table, fares, miles, revenue) in amounts_of_services().items() %}
    select
        '{{ service }}' as service,
        file_month,
        count(*) as trips,
        {%- for name, column in [('fares', fares), ('miles', miles), ('revenue', revenue)] %}
        {{ 'coalesce(sum(' ~ column ~ '), 0)' if column else 'cast(null as float64)' }} as {{ name }}{{ ',' if not loop.last }}
        {%- endfor %}
    from {{ source('trips', table) }}
    where {{ in_month_of_run() }}
    group by file_month
    {{ 'union all' if not loop.last }}
    {%- endfor %}
{% endmacro %}
