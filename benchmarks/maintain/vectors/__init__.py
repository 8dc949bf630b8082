"""What contextual vectors know that a static embedding cannot: the senses of one spelling, measured."""
