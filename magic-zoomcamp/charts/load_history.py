from nyc_taxi.report import editor_charts
from nyc_taxi.settings import Settings

# Mage draws the two variables that the chart's x and y name.
load, rows_accepted = editor_charts.load_history(Settings.from_environment().postgres)
