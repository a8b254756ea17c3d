"""The threshold that a bank should have, found with samples that are labelled right or wrong."""
