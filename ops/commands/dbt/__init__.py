"""`taxi dbt`: the models on top of the trips."""
