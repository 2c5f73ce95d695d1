from nyc_taxi.report.editor_charts import rejected_rows

# Mage draws the frame that has the upstream block's name: its manifest gives way to what the chart counts.
transform_taxi_data = rejected_rows(globals().get("transform_taxi_data"))
