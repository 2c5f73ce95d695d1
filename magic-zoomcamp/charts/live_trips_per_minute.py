from nyc_taxi.live import look
from nyc_taxi.settings import Settings

# Mage draws the two variables that the chart's x and y name.
minute, trips = look.trips_per_minute(Settings.from_environment())
