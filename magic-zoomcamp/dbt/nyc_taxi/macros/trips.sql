{# What identifies a trip, as one short text: the same trip has the same one in every run. #}
{% macro trip_id(columns) %}
  {%- set texts = [] %}
  {%- for column in columns %}
    {%- do texts.append("coalesce(cast(" ~ column ~ " as " ~ dbt.type_string() ~ "), '')") %}
  {%- endfor %}
  {{- dbt.hash("concat(" ~ texts | join(", '|', ") ~ ")") }}
{%- endmacro %}

{# Two columns that mark what an asker may want to leave out; no row is dropped for them.
   is_duplicate: an equal trip stands before it. is_reversal: the amount was taken back, or takes one back: the same ride
   is there with the same amount of the other sign. Every window is within a service and a month, so that a question for
   one month reads that month only. #}
{% macro marks() %}
    row_number() over (partition by {{ ride() }}, trip_id order by trip_id) > 1 as is_duplicate,
    total_amount <> 0 and min(total_amount) over (partition by {{ ride() }}) < 0
      and max(total_amount) over (partition by {{ ride() }}) > 0 as is_reversal
{%- endmacro %}

{% macro ride() -%}
  service, file_month, pickup_at, dropoff_at, pickup_location_id, dropoff_location_id, cast(trip_distance as {{ dbt.type_string() }}), cast(abs(total_amount) as {{ dbt.type_string() }})
{%- endmacro %}

{% macro minutes_between(start, end) %}{{ return(adapter.dispatch('minutes_between')(start, end)) }}{% endmacro %}
{% macro postgres__minutes_between(start, end) %}extract(epoch from {{ end }} - {{ start }})::double precision / 60{% endmacro %}
{% macro bigquery__minutes_between(start, end) %}datetime_diff({{ end }}, {{ start }}, second) / 60{% endmacro %}
