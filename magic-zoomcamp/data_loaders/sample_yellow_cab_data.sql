-- Ten trips to look at.
SELECT * FROM {{ env_var('POSTGRES_SCHEMA') }}.yellow_cab_data LIMIT 10
