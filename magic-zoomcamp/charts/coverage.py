from nyc_taxi.report.coverage.page import editor_table
from nyc_taxi.settings import Settings

# Mage draws the table whose headings and rows the chart's x and y name.
heading, coverage = editor_table(Settings.from_environment())
