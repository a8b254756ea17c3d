"""What a signal is: algorithms, values and their text form, distances, texts, names of variants."""
