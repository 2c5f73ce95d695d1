{# Refuse to build where a table or view of a model's name is none of this project's: asked before anything is changed.
   What tells ours: the columns in the model's `meta.told_by`, and for a view that it is one. #}
{% macro only_ours() %}
  {%- if execute and flags.WHICH in ['build', 'run'] %}
    {%- for model in graph.nodes.values() if model.resource_type == 'model' and model.config.meta.get('told_by') %}
      {%- set there = adapter.get_relation(model.database, model.schema, model.alias) %}
      {%- if there %}
        {%- set columns = adapter.get_columns_in_relation(there) | map(attribute='name') | list %}
        {%- set lacking = model.config.meta.told_by | reject('in', columns) | list %}
        {%- if lacking or there.is_view != (model.config.materialized == 'view') %}
          {{ exceptions.raise_compiler_error(
            model.schema ~ '.' ~ model.alias ~ ' was not made by this project, and nothing was changed: rename it, or '
            ~ ('set BIGQUERY_DATASET to another data set' if target.type == 'bigquery' else
               'set POSTGRES_SCHEMA to another schema') ~ ', and run again'
          ) }}
        {%- endif %}
      {%- endif %}
    {%- endfor %}
  {%- endif %}
{% endmacro %}
