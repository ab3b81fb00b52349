"""Plain torch: dropout that does not wait for its random numbers, and the softmax over a catalogue."""
