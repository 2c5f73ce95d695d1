{# The month that this run builds, as YYYY-MM-DD; none for all of them. As nyc_taxi.run has it: the variable month, else
   that of a trigger's execution_date moved by month_offset. #}
{% macro month_of_run() %}
  {%- set month = var('month', '') | string | trim -%}
  {%- if month -%}
    {%- if not modules.re.fullmatch('[0-9]{4}-(0[1-9]|1[0-2])', month) -%}
      {{ exceptions.raise_compiler_error("month '" ~ month ~ "' is not YYYY-MM") }}
    {%- endif -%}
    {{ return(month ~ '-01') }}
  {%- elif var('pipeline_run_id', '') and var('execution_date', '') -%}
    {%- set date = (var('execution_date') | string)[:10] -%}
    {%- set months = date[:4] | int * 12 + date[5:7] | int - 1 + var('month_offset', 0) | int -%}
    {{ return('%04d-%02d-01' % (months // 12, months % 12 + 1)) }}
  {%- else -%}
    {{ return(none) }}
  {%- endif -%}
{% endmacro %}

{# A condition that holds for the rows that a model builds in this run: those of its month, or all, where the table is
   new or the run has no month. #}
{% macro rows_of_run() %}
  {{- in_month_of_run() if is_incremental() else 'true' }}
{%- endmacro %}

{# A condition on what a test looks at: the month that was built. #}
{% macro in_month_of_run() %}
  {%- set month = month_of_run() -%}
  {{- "file_month = date '" ~ month ~ "'" if month else 'true' }}
{%- endmacro %}

{# A test with `where: month_of_run` looks at the month that was built, not at every month there is. #}
{% macro get_where_subquery(relation) %}
  {%- set where = config.get('where', '') -%}
  {%- if where -%}
    (select * from {{ relation }} where {{ where | replace('month_of_run', in_month_of_run()) }}) dbt_subquery
  {%- else -%}
    {{ relation }}
  {%- endif -%}
{% endmacro %}
