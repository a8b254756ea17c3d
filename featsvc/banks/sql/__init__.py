"""The tables, the database under them, and reads and writes of one revision."""
