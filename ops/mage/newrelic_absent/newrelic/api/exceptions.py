"""The error that Mage tells and then goes on without New Relic."""


class ConfigurationError(Exception):
    """New Relic cannot be used."""
