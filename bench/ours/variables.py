"""What the contestants load."""

SERVICE = "yellow"


def variables(month: str, service: str = SERVICE, origin: str = "dtc") -> dict[str, str]:
    """The month, as a pipeline's variables."""
    rules = "has_passengers" if service == SERVICE else "none"
    return {"service": service, "month": month, "origin": origin, "rules": rules}
