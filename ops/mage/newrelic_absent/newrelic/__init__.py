"""
What Mage needs of New Relic's agent to start, where that has no wheel: on macOS.

pyproject.toml makes it known as `newrelic` to this project's environment, behind every package that is installed: on
Linux, the agent itself is found.
"""
