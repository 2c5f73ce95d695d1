from nyc_taxi.live import look
from nyc_taxi.settings import Settings

# Mage draws the table whose headings and rows the chart's x and y name.
heading, streams = look.progress(Settings.from_environment())
