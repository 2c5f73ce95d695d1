"""Everything around the library: the commands, the services of this machine, Mage, the container."""
