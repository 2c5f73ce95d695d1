-- The four services side by side: a row per month.
{{ config(**month_by_month()) }}
select
    file_month,
    {%- for service in ['yellow', 'green', 'fhv', 'fhvhv'] %}
    sum(case when service = '{{ service }}' then trips else 0 end) as {{ service }}_trips,
    {%- endfor %}
    sum(trips) as trips,
    {%- for service in ['yellow', 'green', 'fhvhv'] %}
    sum(case when service = '{{ service }}' then revenue else 0 end) as {{ service }}_revenue,
    {%- endfor %}
    sum(revenue) as revenue
from {{ ref('fct_monthly_zone_revenue') }}
where {{ rows_of_run() }}
group by file_month
