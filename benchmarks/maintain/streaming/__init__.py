"""A tagger that is streamed: what it answers, how much it computes, and how long that takes."""
