"""
New York taxi trips from the city's files to a database, a lake and a warehouse, one month at a time.

Nothing here imports the orchestrator: blocks call these functions, never the other way round.
"""
