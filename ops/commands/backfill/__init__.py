"""Many months, or days, of one pipeline, through Mage's own backfills."""
