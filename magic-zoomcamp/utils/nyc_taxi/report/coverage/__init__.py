"""What is loaded, at a glance: a grid of services, months and targets."""
