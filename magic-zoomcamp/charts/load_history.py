from nyc_taxi import charts
from nyc_taxi.settings import Settings

# Mage draws the two variables that the chart's x and y name.
load, rows_accepted = charts.load_history(Settings.from_environment().postgres)
