"""Which threshold a bank should have, from samples whose truth is known."""
