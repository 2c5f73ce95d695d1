"""`taxi sql` and `taxi external`: asking where the trips are, without loading them."""
