"""The project's own work in processes of their own, without Mage."""
