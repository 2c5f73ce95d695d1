{# What identifies a trip (`what` is 'trip') or, whatever was paid for it, a ride, as one short text: the same in every run.
   Which columns do, sources.yml has from the catalog, where the rules not_a_duplicate and no_reversal have it too. #}
{% macro hash_of(what, table) %}
  {%- if execute %}
    {%- set source = graph.sources.values() | selectattr('name', 'equalto', table) | first %}
    {%- set texts = ["'" ~ table ~ "'"] %}
    {%- for column in source.config.meta[what] %}
      {%- do texts.append("coalesce(cast(trips." ~ column ~ " as " ~ dbt.type_string() ~ "), '')") %}
    {%- endfor %}
    {{- dbt.hash("concat(" ~ texts | join(", '|', ") ~ ")") }}
  {%- endif %}
{%- endmacro %}

{# Trips with two marks; no row is dropped for them. is_reversal: a negative fare, or the positive one that it takes back,
   each with one other. is_duplicate: of those that are left, an equal trip stands before it. Every window is within a
   month, so that a question for one month reads that month only. #}
{% macro marked(trips) %}
{%- set ride = "partition by file_month, ride_id, cast(abs(fare_amount) as " ~ dbt.type_string() ~ ")" %}
select
    *,
    not is_reversal
        and row_number() over (partition by file_month, trip_id, is_reversal order by trip_id) > 1 as is_duplicate
from (
    select
        *,
        coalesce(
            fare_amount <> 0
            and row_number() over ({{ ride }}, fare_amount > 0 order by trip_id) <= least(
                count(case when fare_amount < 0 then 1 end) over ({{ ride }}),
                count(case when fare_amount > 0 then 1 end) over ({{ ride }})
            ),
            false
        ) as is_reversal
    from {{ trips }}
) as with_reversals
{%- endmacro %}

{% macro minutes_between(start, end) %}{{ return(adapter.dispatch('minutes_between')(start, end)) }}{% endmacro %}
{% macro postgres__minutes_between(start, end) %}extract(epoch from {{ end }} - {{ start }})::double precision / 60{% endmacro %}
{% macro bigquery__minutes_between(start, end) %}datetime_diff({{ end }}, {{ start }}, second) / 60{% endmacro %}
