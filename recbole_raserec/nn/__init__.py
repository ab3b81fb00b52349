"""Plain torch code: dropout with a faster random mask, and cross entropy over a catalogue."""
