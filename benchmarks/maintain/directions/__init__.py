"""Two directions over one: what they cost, and what is learned with them."""
