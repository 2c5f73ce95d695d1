{# The configuration of a table of which a run replaces its month as a whole, however old the month is, and whatever the
   month now has: a month that became empty becomes empty here. Without a month, it replaces all of them. In Postgres
   the table stays the same one: with it stay the views, grants and indexes that people put on it. #}
{% macro month_by_month(cluster_by=[]) %}
  {%- set month = month_of_run() %}
  {%- set common = {'materialized': 'incremental', 'on_schema_change': 'append_new_columns'} %}
  {%- if target.type == 'bigquery' %}
    {%- do common.update({
      'incremental_strategy': 'insert_overwrite',
      'full_refresh': none if month else true,
      'partition_by': {'field': 'file_month', 'data_type': 'date', 'granularity': 'month'},
      'partitions': ["date '" ~ month ~ "'"] if month else none,
      'cluster_by': cluster_by or none,
    }) %}
  {%- else %}
    {%- do common.update({
      'incremental_strategy': 'month',
      'indexes': [{'columns': ['file_month']}],
      'pre_hook': ["{% if is_incremental() %}lock table {{ this }} in share row exclusive mode{% endif %}"],
    }) %}
  {%- endif %}
  {{ return(common) }}
{% endmacro %}

{# dbt's strategy `month`, for Postgres. One transaction, and under a lock since before the rows were read (pre_hook):
   of two runs at once, the second one reads, deletes and inserts after the first one has. #}
{% macro get_incremental_month_sql(arg_dict) %}
  {%- set columns = get_quoted_csv(arg_dict['dest_columns'] | map(attribute='name')) %}
  delete from {{ arg_dict['target_relation'] }} where {{ in_month_of_run() }};
  insert into {{ arg_dict['target_relation'] }} ({{ columns }})
  select {{ columns }} from {{ arg_dict['temp_relation'] }}
{% endmacro %}
