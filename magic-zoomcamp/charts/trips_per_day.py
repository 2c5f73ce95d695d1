from nyc_taxi.report.editor_charts import trips_per_day

# Mage draws the frame that has the upstream block's name: its manifest gives way to what the chart counts.
transform_taxi_data = trips_per_day(globals().get("transform_taxi_data"))
