"""What every contestant loads."""

SERVICE = "yellow"


def variables(month: str) -> dict[str, str]:
    """The month, as a pipeline's variables."""
    return {"service": SERVICE, "month": month, "origin": "dtc", "rules": "has_passengers"}
