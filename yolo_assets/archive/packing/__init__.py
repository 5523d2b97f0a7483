"""Files into the bytes of an archive, and what every byte must hash to. Knows neither spool nor store."""
